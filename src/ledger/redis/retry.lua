-- Records that an attempt at a kept event failed. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running   3 its parcel   4 the due   5 the kept   6 the dead of its endpoint
--   ARGV  1 token   2 P another attempt follows, X none does   3 the backend's status, 3 digits
--         4 until then, ms   5 1 if the attempt counts, 0 if it does not
--   answers  1 recorded    0 superseded: another holder has it, or has settled it
-- The record is claim.lua's.
local record = redis.call('GET', KEYS[1])
if not record or string.sub(record, 3, 18) ~= ARGV[1] or string.sub(record, 66, 66) == '-' then
  return 0
end
local state = string.sub(record, 1, 1)
if state ~= 'R' then
  return state == ARGV[2] and 1 or 0
end

local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local attempts, says = string.match(record, '^(%d+)( .*)$', 68)
attempts = attempts - (ARGV[5] == '1' and 0 or 1)
local status = ARGV[3] ~= '000' and ARGV[3] or string.sub(record, 48, 50)
local due, settled = now + ARGV[4], '0000000000000'
redis.call('SREM', KEYS[2], KEYS[1])
if ARGV[2] == 'P' then
  redis.call('ZADD', KEYS[4], due, KEYS[1])
else
  due, settled = '0000000000000', now
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
  redis.call('ZADD', KEYS[6], now, KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[1] .. ' ' .. due .. ' ' .. settled .. ' ' .. status
  .. string.sub(record, 51, 67) .. attempts .. says)
return 1
