-- Leases kept events of an endpoint that are due, or whose lease is over.
--   KEYS  1 the due   2 the kept of the endpoint   3 the running   4 the served
--   ARGV  1 lease, ms   2 what every key begins with   3 endpoint   4… a token for each that may be leased
--   answers  for each leased: its record's key, attempt, token, way, what the record says
-- Records and parcels share the tag of these keys; which they are, only the due know. The record is claim.lua's. The
-- parcels are read afterwards: every string that comes into Lua is hashed, byte for byte.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local due = now + ARGV[1]
local stem = ARGV[2]
local leased, records, dues, running, bytes = {}, {}, {}, {}, 0

-- The first write is one that a server without memory takes too (noeviction): what is due must get out of it. That the
-- endpoint is served is therefore said at the end, and not in vain.
redis.call('ZREM', KEYS[4], '')
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, #ARGV - 3)
local found = #keys > 0 and redis.call('MGET', unpack(keys)) or {}
for n, key in ipairs(keys) do
  local record = found[n] or ''
  local state = string.sub(record, 1, 1)
  local parcel = stem .. '/' .. string.sub(key, #stem + 1)
  local length = redis.call('HSTRLEN', parcel, 'body')
  if (state == 'P' or state == 'R') and length > 0 then
    local attempts, says = string.match(record, '^(%d+) (.*)$', 68)
    local token, attempt = ARGV[n + 3], attempts + 1
    records[#records + 1] = key
    records[#records + 1] = 'R ' .. token .. ' ' .. due .. ' 0000000000000' .. string.sub(record, 47, 67) .. attempt
      .. ' ' .. says
    dues[#dues + 1] = due
    dues[#dues + 1] = key
    running[#running + 1] = key
    leased[#leased + 1] = {key, tostring(attempt), token, string.sub(record, 66, 66), says}
    bytes = bytes + length
    if bytes > 4194304 then
      break -- their parcels must not occupy the connection for long
    end
  else
    -- Somebody removed its record or its parcel by hand.
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('SREM', KEYS[3], key)
    redis.call('UNLINK', parcel)
  end
end
if #leased > 0 then
  redis.call('MSET', unpack(records))
  redis.call('ZADD', KEYS[1], unpack(dues))
  redis.call('SADD', KEYS[3], unpack(running))
end
redis.call('ZADD', KEYS[4], now, ARGV[3])
return leased
