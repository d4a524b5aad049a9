-- Does what an operator asks for.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept   6 the dead of its endpoint
--   ARGV  1 redeliver, or forget
--   answers  0 there is no such event    1 done    2 a delivery is under way    3 its payload is gone
-- The record is claim.lua's.
local record = redis.call('GET', KEYS[1])
if not record then
  return 0
end
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
if string.sub(record, 1, 1) == 'R' and string.sub(record, 20, 32) - now > 0 then
  return 2
end
if ARGV[1] == 'redeliver' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 3
end
redis.call('SREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[6], KEYS[1])
if ARGV[1] == 'redeliver' then
  local says = string.match(record, ' .*$', 68)
  redis.call('SET', KEYS[1], 'P ' .. string.sub(record, 3, 19) .. now .. ' 0000000000000 '
    .. string.sub(record, 48, 65) .. 'r 0' .. says)
  redis.call('ZADD', KEYS[4], now, KEYS[1])
  redis.call('ZADD', KEYS[5], string.sub(record, 52, 64), KEYS[1])
else
  redis.call('DEL', KEYS[1])
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
end
return 1
