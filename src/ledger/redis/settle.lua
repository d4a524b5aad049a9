-- Records how a delivery ended. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running
--   ARGV  1 token   2 D delivered, F failed   3 the backend's status, 3 digits   4 retention, ms
--         5 attempt   6 what the record says of the event
--   answers  1 recorded    0 superseded: another holder has it, or has settled it
-- The record is claim.lua's. D counts from any state and with any token, even where the record is gone. What is kept of
-- the event shares the tag of these keys, and is spelled as keys.rs does.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local rest = ' ' .. now .. ' - ' .. ARGV[5] .. ' ' .. ARGV[6]

local record = redis.call('GET', KEYS[1])
local state, token
if record then
  state, token = string.sub(record, 1, 1), string.sub(record, 3, 18)
  if state == 'D' then
    return ARGV[2] == 'D' and 1 or 0
  end
  rest = string.sub(record, 51)
end
if ARGV[2] == 'F' and not (state == 'R' and token == ARGV[1]) then
  return (state == 'F' and token == ARGV[1]) and 1 or 0
end

local kept = record and string.sub(record, 66, 66) ~= '-'
if kept and ARGV[2] == 'F' then
  return 0 -- retry.lua's
end

-- The first write is one that a server without memory takes too (noeviction): what is delivered must get out of it.
redis.call('SREM', KEYS[2], KEYS[1])
if kept then
  rest = string.sub(record, 51, 65) .. '-' .. string.sub(record, 67)
  local stem = string.sub(KEYS[2], 1, -8)
  local event = string.sub(KEYS[1], #stem + 1)
  local endpoint = string.match(event, ' (.*)$')
  redis.call('UNLINK', stem .. '/' .. event)
  redis.call('ZREM', stem .. 'due ' .. endpoint, KEYS[1])
  redis.call('ZREM', stem .. 'kept ' .. endpoint, KEYS[1])
  redis.call('ZREM', stem .. 'dead ' .. endpoint, KEYS[1])
end
redis.call('SET', KEYS[1],
  ARGV[2] .. ' ' .. ARGV[1] .. ' 0000000000000 ' .. now .. ' ' .. ARGV[3] .. rest, 'PX', ARGV[4])
return 1
