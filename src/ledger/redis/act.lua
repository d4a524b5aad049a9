-- Does what an operator asks for.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept   6 the dead of its endpoint
--   ARGV  1 redeliver, or forget
--   answers  0 there is no such event    1 done    2 a delivery is under way    3 its payload is gone
-- The record is claim.lua's.
local record = redis.call('GET', KEYS[1])
if not record then
  return 0
end
local state, token, due, status, seen, says = string.match(record, '^(%u) %d+ (%x+) (%d+) (%d+) (%d+) %d+ %S (.*)$')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if state == 'R' and tonumber(due) > now then
  return 2
end
if ARGV[1] == 'redeliver' and redis.call('EXISTS', KEYS[3]) == 0 then
  return 3
end
redis.call('ZREM', KEYS[2], KEYS[1])
redis.call('ZREM', KEYS[6], KEYS[1])
if ARGV[1] == 'redeliver' then
  redis.call('SET', KEYS[1], table.concat({'P', 0, token, now, status, seen, 0, 'r', says}, ' '))
  redis.call('ZADD', KEYS[4], now, KEYS[1])
  redis.call('ZADD', KEYS[5], seen, KEYS[1])
else
  redis.call('DEL', KEYS[1])
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
end
return 1
