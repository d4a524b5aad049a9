-- Takes an event in with all that its delivery needs. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept of its endpoint   6 the endpoints
--   ARGV  1 token   2 lease, ms; 0 for none   3 what the record says of the event   4 endpoint
--         5 way   6 head   7 signature   8 body
--   answers  {1, attempt}  leased    {2, ms left}  in flight    {3, 0}  kept already, or delivered    {4, 0}  queued
-- The record is claim.lua's. The due are scored by when they are, or by the end of their lease; the kept by when they came.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
local attempts, seen = 0, now

local record = redis.call('GET', KEYS[1])
if record then
  local state, tried, token, due, first, way = string.match(record, '^(%u) (%d+) (%x+) (%d+) %d+ (%d+) %d+ (%S) ')
  if token == ARGV[1] and state == 'R' then
    return {1, tonumber(tried)}
  end
  if token == ARGV[1] and state == 'P' then
    return {4, 0}
  end
  if state ~= 'F' and (state ~= 'R' or way ~= '-') then
    return {3, 0}
  end
  local left = due - now
  if state == 'R' and left > 0 and left <= lease + 3600000 then
    return {2, left}
  end
  attempts, seen = tonumber(tried), first
end

local state, due, answer = 'P', now, {4, 0}
if lease > 0 then
  attempts = attempts + 1
  state, due, answer = 'R', now + lease, {1, attempts}
end
redis.call('SET', KEYS[1], table.concat({state, attempts, ARGV[1], due, 0, seen, 0, ARGV[5], ARGV[3]}, ' '))
redis.call('HSET', KEYS[3], 'head', ARGV[6], 'signature', ARGV[7], 'body', ARGV[8])
redis.call('ZADD', KEYS[4], due, KEYS[1])
redis.call('ZADD', KEYS[5], seen, KEYS[1])
redis.call('SADD', KEYS[6], ARGV[4])
if state == 'R' then
  redis.call('ZADD', KEYS[2], due, KEYS[1])
else
  redis.call('ZREM', KEYS[2], KEYS[1])
end
return answer
