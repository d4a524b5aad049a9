-- Records how a delivery ended. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running
--         and of a kept event   3 its parcel   4 the due   5 the kept   6 the dead of its endpoint
--   ARGV  1 token   2 D delivered, F failed   3 the backend's status, 0 if none   4 retention, ms
--         5 attempt   6 what the record says of the event
--   answers  1 recorded    0 superseded: another holder has it, or has settled it
-- The record is claim.lua's. D counts from any state and with any token, even where the record is gone.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local attempts, seen = ARGV[5], now

local record = redis.call('GET', KEYS[1])
local state, tried, token, first, way
if record then
  state, tried, token, first, way = string.match(record, '^(%u) (%d+) (%x+) %d+ %d+ (%d+) %d+ (%S) ')
  attempts, seen = tried, first
end

if state == 'D' then
  return ARGV[2] == 'D' and 1 or 0
end
if ARGV[2] == 'F' and not (state == 'R' and token == ARGV[1]) then
  return (state == 'F' and token == ARGV[1]) and 1 or 0
end
local settled = {ARGV[2], attempts, ARGV[1], 0, ARGV[3], seen, now, '-', ARGV[6]}
redis.call('SET', KEYS[1], table.concat(settled, ' '), 'PX', ARGV[4])
redis.call('ZREM', KEYS[2], KEYS[1])
if way and way ~= '-' then
  redis.call('UNLINK', KEYS[3])
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
  redis.call('ZREM', KEYS[6], KEYS[1])
end
return 1
