-- Records how deliveries ended. Sent twice with the same tokens, it answers the same.
--   KEYS  1 the running   2… an event's record each
--   ARGV  1 retention, ms; and of each event five:
--         token   D delivered, F failed   the backend's status, 3 digits   attempt   what the record says of the event
--   answers  of each: 1 recorded    0 superseded: another holder has it, or has settled it
-- The record is claim.lua's. D counts from any state and with any token, even where the record is gone. What is kept of
-- the events shares the tag of these keys, and is spelled as keys.rs does.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local stem = string.sub(KEYS[1], 1, -8)
local records, settled, parcels, kept, dead = {}, {}, {}, {}, {}

local function add(lists, endpoint, key)
  local list = lists[endpoint] or {}
  list[#list + 1] = key
  lists[endpoint] = list
end

-- Notes what is to be written.
local function settle(key, record, token, outcome, status, attempt, says)
  local rest = ' ' .. now .. ' - ' .. attempt .. ' ' .. says
  local state, holder, parcel
  if record then
    state, holder = string.sub(record, 1, 1), string.sub(record, 3, 18)
    if state == 'D' then
      return outcome == 'D' and 1 or 0
    end
    rest = string.sub(record, 51)
    parcel = string.sub(record, 66, 66) ~= '-'
  end
  if outcome == 'F' and not (state == 'R' and holder == token) then
    return (state == 'F' and holder == token) and 1 or 0
  end
  if outcome == 'F' and parcel then
    return 0 -- retry.lua's
  end

  if parcel then
    rest = string.sub(record, 51, 65) .. '-' .. string.sub(record, 67)
    local event = string.sub(key, #stem + 1)
    local endpoint = string.match(event, ' (.*)$')
    parcels[#parcels + 1] = stem .. '/' .. event
    add(kept, endpoint, key)
    if state == 'X' then
      add(dead, endpoint, key)
    end
  end
  settled[#settled + 1] = key
  records[key] = outcome .. ' ' .. token .. ' 0000000000000 ' .. now .. ' ' .. status .. rest
  return 1
end

local found = redis.call('MGET', unpack(KEYS, 2))
local answers = {}
for n, record in ipairs(found) do
  local key, at = KEYS[n + 1], 5 * n - 3
  answers[n] = settle(key, records[key] or record, unpack(ARGV, at, at + 4))
end

-- The first write is one that a server without memory takes too (noeviction): what is delivered must get out of it.
if #settled > 0 then
  redis.call('SREM', KEYS[1], unpack(settled))
end
if #parcels > 0 then
  redis.call('UNLINK', unpack(parcels))
end
for endpoint, keys in pairs(kept) do
  redis.call('ZREM', stem .. 'due ' .. endpoint, unpack(keys))
  redis.call('ZREM', stem .. 'kept ' .. endpoint, unpack(keys))
end
for endpoint, keys in pairs(dead) do
  redis.call('ZREM', stem .. 'dead ' .. endpoint, unpack(keys))
end
for key, record in pairs(records) do
  redis.call('SET', key, record, 'PX', ARGV[1])
end
return answers
