-- Records a failed attempt at a queued event. A repeated call with the same token gets the same reply.
--   KEYS  1 the event's record   2 the sorted set `running`   3 the event's payload
--         4 `due`   5 `queued`   6 `dead` of its endpoint
--   ARGV  1 token   2 P if another attempt follows, X if not   3 the backend's status, 3 digits
--         4 ms until the next attempt   5 1 if the attempt counts, 0 if not
--   reply  1 recorded    0 superseded: another holder has leased the event since, or has settled it
-- claim.lua shows the layout of a record.
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
local attempts, metadata = string.match(record, '^(%d+)( .*)$', 68)
attempts = attempts - (ARGV[5] == '1' and 0 or 1)
-- 000 means that the backend gave no response in this attempt. The status of an earlier attempt stays then.
local status = ARGV[3] ~= '000' and ARGV[3] or string.sub(record, 48, 50)
local due, settled = now + ARGV[4], '0000000000000'
redis.call('ZREM', KEYS[2], KEYS[1])
if ARGV[2] == 'P' then
  redis.call('ZADD', KEYS[4], due, KEYS[1])
else
  due, settled = '0000000000000', now
  redis.call('ZREM', KEYS[4], KEYS[1])
  redis.call('ZREM', KEYS[5], KEYS[1])
  redis.call('ZADD', KEYS[6], now, KEYS[1])
end
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. ARGV[1] .. ' ' .. due .. ' ' .. settled .. ' ' .. status
  .. string.sub(record, 51, 67) .. attempts .. metadata)
return 1
