-- Stores an event and its payload for later delivery. A repeated call with the same token gets the same reply.
--   KEYS  1 the event's record   2 the sorted set `running`   3 the event's payload
--         4 `due` of its endpoint   5 `queued` of its endpoint   6 the set `queued_endpoints`
--         7 the write counter of this process   8 the hash `clock`
--   ARGV  1 token   2 lease, ms; 0 for none   3 metadata of the event   4 endpoint
--         5 mode   6 head   7 signature   8 body   9 the usual lease, ms
--   reply  {1, attempt, n}  leased    {2, ms left, n}  in flight    {3, 0, n}  queued already, or delivered
--          {4, 0, n}  queued;  n: the write counter after this call, 0 if it wrote nothing
-- claim.lua shows the layout of a record. The score in `due` is the due time or the end of the lease. The score in
-- `queued` is the time when the event was first received.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local lease = tonumber(ARGV[2])
local attempts, seen = 0, now

local record = redis.call('GET', KEYS[1])
if record then
  local state, token = string.sub(record, 1, 1), string.sub(record, 3, 18)
  attempts = tonumber(string.match(record, '^%d+', 68))
  if token == ARGV[1] and state == 'R' then
    return {1, attempts, 0}
  end
  if token == ARGV[1] and state == 'P' then
    return {4, 0, 0}
  end
  if state ~= 'F' and (state ~= 'R' or string.sub(record, 66, 66) ~= '-') then
    return {3, 0, 0}
  end
  if state == 'R' then
    local left = lease_left(now, string.sub(record, 20, 32), math.max(lease, ARGV[9]), KEYS[8])
    if left > 0 then
      return {2, left, 0}
    end
  end
  seen = string.sub(record, 52, 64)
end

local state, due, reply = 'P', now, {4, 0, 0}
if lease > 0 then
  attempts = attempts + 1
  state, due, reply = 'R', now + lease, {1, attempts, 0}
end
if not record then
  local key_prefix = string.sub(KEYS[2], 1, -8) -- as in claim.lua
  redis.call('SADD', key_prefix .. 'variants', string.match(KEYS[1], '[/?].*$', #key_prefix + 1))
end
-- The record is written last. If the server refuses an earlier command, the event does not count as queued.
redis.call('HSET', KEYS[3], 'head', ARGV[6], 'signature', ARGV[7], 'body', ARGV[8])
redis.call('SADD', KEYS[6], ARGV[4])
redis.call('ZADD', KEYS[5], seen, KEYS[1])
redis.call('ZADD', KEYS[4], due, KEYS[1])
reply[3] = redis.call('INCR', KEYS[7])
if state == 'R' then
  redis.call('ZADD', KEYS[2], due, KEYS[1])
else
  redis.call('ZREM', KEYS[2], KEYS[1])
end
redis.call('SET', KEYS[1], state .. ' ' .. ARGV[1] .. ' ' .. due .. ' 0000000000000 000 ' .. seen .. ' ' .. ARGV[5]
  .. ' ' .. attempts .. ' ' .. ARGV[3])
return reply
