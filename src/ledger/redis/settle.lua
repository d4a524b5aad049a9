-- Records the results of deliveries, many in one call. A repeated call with the same tokens gets the same reply.
--   KEYS  1 the sorted set `running`   2 the write counter of this process   3... one record each
--   ARGV  1 ms until Redis itself expires a record, unless expire.lua deletes it before; then five for each record:
--         token   D delivered, F failed   the backend's status, 3 digits   attempt   metadata of the event
--   reply  for each record: 1 recorded    0 superseded: another holder has leased the event since, or has settled it;
--          then the write counter after this call, 0 if it wrote nothing
-- D is recorded from any state and with any token, even if the record no longer exists. claim.lua shows the layout of a
-- record. The other keys of an event have the same hash tag and are spelled as in keys.rs, so they are not among KEYS.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local key_prefix = string.sub(KEYS[1], 1, -8) -- KEYS[1] without `running`
local records, settled, payloads, variants, queued, dead = {}, {}, {}, {}, {}, {}

local function add(lists, endpoint, key)
  local list = lists[endpoint] or {}
  list[#list + 1] = key
  lists[endpoint] = list
end

-- Decides one settlement and collects what to write. It writes nothing, so that the writes below can be grouped.
local function settle(key, record, token, outcome, status, attempt, metadata)
  local rest = ' ' .. now .. ' - ' .. attempt .. ' ' .. metadata
  local state, holder, has_payload
  if record then
    state, holder = string.sub(record, 1, 1), string.sub(record, 3, 18)
    if state == 'D' then
      return outcome == 'D' and 1 or 0
    end
    rest = string.sub(record, 51)
    has_payload = string.sub(record, 66, 66) ~= '-'
  end
  if outcome == 'F' and not (state == 'R' and holder == token) then
    return (state == 'F' and holder == token) and 1 or 0
  end
  if outcome == 'F' and has_payload then
    return 0 -- A failed attempt at a queued event is recorded by reschedule.lua.
  end

  if has_payload then
    -- A settled event has no payload, so its mode becomes `-`.
    rest = string.sub(record, 51, 65) .. '-' .. string.sub(record, 67)
    local event = string.sub(key, #key_prefix + 1)
    local endpoint = string.match(event, ' (.*)$')
    payloads[#payloads + 1] = key_prefix .. '/' .. event
    add(queued, endpoint, key)
    if state == 'X' then
      add(dead, endpoint, key)
    end
  end
  if not record then
    variants[#variants + 1] = string.match(key, '[/?].*$', #key_prefix + 1) -- as in claim.lua
  end
  settled[#settled + 1] = key
  records[key] = outcome .. ' ' .. token .. ' 0000000000000 ' .. now .. ' ' .. status .. rest
  return 1
end

local found = redis.call('MGET', unpack(KEYS, 3))
local replies = {}
for n, record in ipairs(found) do
  local key, at = KEYS[n + 2], 5 * n - 3
  -- One call can settle an event twice. The second settlement must see the result of the first.
  replies[n] = settle(key, records[key] or record, unpack(ARGV, at, at + 4))
end

-- On a full server (noeviction), Redis refuses a script if its first write may need memory. Settling must work there
-- too, because it frees memory. So the removals come first.
if #settled > 0 then
  redis.call('ZREM', KEYS[1], unpack(settled))
end
if #payloads > 0 then
  redis.call('UNLINK', unpack(payloads))
end
for endpoint, keys in pairs(queued) do
  redis.call('ZREM', key_prefix .. 'due ' .. endpoint, unpack(keys))
  redis.call('ZREM', key_prefix .. 'queued ' .. endpoint, unpack(keys))
end
for endpoint, keys in pairs(dead) do
  redis.call('ZREM', key_prefix .. 'dead ' .. endpoint, unpack(keys))
end
if #variants > 0 then
  redis.call('SADD', key_prefix .. 'variants', unpack(variants))
end
local entries = {}
for key, record in pairs(records) do
  redis.call('SET', key, record, 'PX', ARGV[1])
  entries[#entries + 1] = now .. string.sub(key, #key_prefix + 1)
end
if #entries > 0 then
  redis.call('RPUSH', key_prefix .. 'settled', unpack(entries)) -- expire.lua reads it
end
replies[#replies + 1] = #settled > 0 and redis.call('INCR', KEYS[2]) or 0
return replies
