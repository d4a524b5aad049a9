-- Records that an attempt at a kept event failed. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept   6 the dead of its endpoint
--   ARGV  1 token   2 P another attempt follows, X none does   3 the backend's status, 0 if none
--         4 until then, ms   5 1 if the attempt counts, 0 if it does not
--   answers  1 recorded    0 superseded: another holder has it, or has settled it
-- The record is claim.lua's.
local record = redis.call('GET', KEYS[1])
if not record then
  return 0
end
local state, tried, token, before, seen, way, says =
  string.match(record, '^(%u) (%d+) (%x+) %d+ (%d+) (%d+) %d+ (%S) (.*)$')
if token ~= ARGV[1] or way == '-' then
  return 0
end
if state ~= 'R' then
  return state == ARGV[2] and 1 or 0
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local attempts = tonumber(tried) - (ARGV[5] == '1' and 0 or 1)
local status = ARGV[3] ~= '0' and ARGV[3] or before
local due, settled = now + tonumber(ARGV[4]), 0
redis.call('ZREM', KEYS[2], KEYS[1])
if ARGV[2] == 'P' then
  redis.call('ZADD', KEYS[4], due, KEYS[1])
else
  due, settled = 0, now
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
  redis.call('ZADD', KEYS[6], now, KEYS[1])
end
redis.call('SET', KEYS[1], table.concat({ARGV[2], attempts, token, due, status, seen, settled, way, says}, ' '))
return 1
