-- Applies an operator's action to one event.
--   KEYS  1 the event's record   2 the sorted set `running`   3 the event's payload
--         4 `due`   5 `queued`   6 `dead` of its endpoint   7 the hash `clock`
--   ARGV  1 redeliver or delete   2 the usual lease, ms
--   reply  0 no such event    1 done    2 a delivery is in progress    3 the payload is no longer stored
-- claim.lua shows the layout of a record.
local record = redis.call('GET', KEYS[1])
if not record then
  return 0
end
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
if string.sub(record, 1, 1) == 'R' and lease_left(now, string.sub(record, 20, 32), tonumber(ARGV[2]), KEYS[7]) > 0 then
  return 2
end
if ARGV[1] == 'redeliver' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 3
end
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[6], KEYS[1])
if ARGV[1] == 'redeliver' then
  -- Attempts start at 0 again: the event gets its whole retry schedule once more.
  local metadata = string.match(record, ' .*$', 68)
  redis.call('SET', KEYS[1], 'P ' .. string.sub(record, 3, 19) .. now .. ' 0000000000000 '
    .. string.sub(record, 48, 65) .. 'r 0' .. metadata)
  redis.call('ZADD', KEYS[4], now, KEYS[1])
  redis.call('ZADD', KEYS[5], string.sub(record, 52, 64), KEYS[1])
else
  redis.call('DEL', KEYS[1])
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
end
return 1
