-- Writes an event of another ledger, unless this one knows as much of it. A repeated call changes nothing more.
--   KEYS  1 the event's record   2 the sorted set `running`   3 the event's payload
--         4 `due`   5 `queued`   6 `dead` of its endpoint   7 the set `queued_endpoints`
--   ARGV  1 the record   2 endpoint   3 ms until Redis itself expires a settled record; 0 for another one
--         4 head   5 signature   6 body; absent for an event without a payload
--   reply  1 written   0 the record here says as much or more
-- claim.lua shows the layout of a record.

-- The order of `Precedence` in transfer.rs: first by rank, then by attempts.
local function precedence(record)
  local rank = 1
  if string.sub(record, 1, 1) == 'D' then
    rank = 3
  elseif string.sub(record, 66, 66) ~= '-' then
    rank = 2
  end
  return rank * 4294967296 + string.match(record, '^%d+', 68)
end

local record, known = ARGV[1], redis.call('GET', KEYS[1])
if known and precedence(known) >= precedence(record) then
  return 0
end
local key_prefix = string.sub(KEYS[2], 1, -8) -- as in claim.lua
redis.call('SADD', key_prefix .. 'variants', string.match(KEYS[1], '[/?].*$', #key_prefix + 1))
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[4], KEYS[1])
redis.call('ZREM', KEYS[5], KEYS[1])
redis.call('ZREM', KEYS[6], KEYS[1])
redis.call('UNLINK', KEYS[3])
local state, due, settled, seen =
  string.sub(record, 1, 1), string.sub(record, 20, 32), string.sub(record, 34, 46), string.sub(record, 52, 64)
if ARGV[4] then
  redis.call('HSET', KEYS[3], 'head', ARGV[4], 'signature', ARGV[5], 'body', ARGV[6])
  redis.call('SADD', KEYS[7], ARGV[2])
  if state == 'X' then
    redis.call('ZADD', KEYS[6], settled, KEYS[1])
  else
    redis.call('ZADD', KEYS[5], seen, KEYS[1])
    redis.call('ZADD', KEYS[4], due, KEYS[1])
  end
end
if state == 'R' then
  redis.call('ZADD', KEYS[2], due, KEYS[1])
end
if ARGV[3] == '0' then
  redis.call('SET', KEYS[1], record)
else
  redis.call('SET', KEYS[1], record, 'PX', ARGV[3])
  redis.call('RPUSH', key_prefix .. 'settled', settled .. string.sub(KEYS[1], #key_prefix + 1)) -- expire.lua reads it
end
return 1
