-- Takes an event in with all that its delivery needs. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept of its endpoint   6 the endpoints
--   ARGV  1 token   2 lease, ms; 0 for none   3 what the record says of the event   4 endpoint
--         5 way   6 head   7 signature   8 body
--   answers  {1, attempt}  leased    {2, ms left}  in flight    {3, 0}  kept already, or delivered    {4, 0}  queued
-- The record is claim.lua's. The due are scored by when they are, or by the end of their lease; the kept by when they came.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local lease = tonumber(ARGV[2])
local attempts, seen = 0, now

local record = redis.call('GET', KEYS[1])
if record then
  local state, token = string.sub(record, 1, 1), string.sub(record, 3, 18)
  attempts = tonumber(string.match(record, '^%d+', 68))
  if token == ARGV[1] and state == 'R' then
    return {1, attempts}
  end
  if token == ARGV[1] and state == 'P' then
    return {4, 0}
  end
  if state ~= 'F' and (state ~= 'R' or string.sub(record, 66, 66) ~= '-') then
    return {3, 0}
  end
  local left = string.sub(record, 20, 32) - now
  if state == 'R' and left > 0 and left <= lease + 3600000 then
    return {2, left}
  end
  seen = string.sub(record, 52, 64)
end

local state, due, answer = 'P', now, {4, 0}
if lease > 0 then
  attempts = attempts + 1
  state, due, answer = 'R', now + lease, {1, attempts}
end
-- The record comes last: if the server refuses a command before it, the event is not taken for kept.
redis.call('HSET', KEYS[3], 'head', ARGV[6], 'signature', ARGV[7], 'body', ARGV[8])
redis.call('SADD', KEYS[6], ARGV[4])
redis.call('ZADD', KEYS[5], seen, KEYS[1])
redis.call('ZADD', KEYS[4], due, KEYS[1])
redis.call(state == 'R' and 'SADD' or 'SREM', KEYS[2], KEYS[1])
redis.call('SET', KEYS[1], state .. ' ' .. ARGV[1] .. ' ' .. due .. ' 0000000000000 000 ' .. seen .. ' ' .. ARGV[5]
  .. ' ' .. attempts .. ' ' .. ARGV[3])
return answer
