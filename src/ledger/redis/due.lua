-- Leases kept events of an endpoint that are due, or whose lease is over.
--   KEYS  1 the due   2 the kept of the endpoint   3 the running
--   ARGV  1 lease, ms   2 what every key begins with   3… a token for each that may be leased
--   answers  for each leased: its record's key, attempt, token, way, what the record says, head, signature, body
-- Records and parcels share the tag of these keys; which they are, only the due know. The record is claim.lua's.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local due = now + tonumber(ARGV[1])
local stem = ARGV[2]
local leased = {}

for n, key in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, #ARGV - 2)) do
  local parcel = stem .. '/' .. string.sub(key, #stem + 1)
  local record = redis.call('GET', key) or ''
  local state, tried, status, seen, way, says =
    string.match(record, '^(%u) (%d+) %x+ %d+ (%d+) (%d+) %d+ (%S) (.*)$')
  local held = redis.call('HMGET', parcel, 'head', 'signature', 'body')
  if (state == 'P' or state == 'R') and held[3] then
    local token, attempt = ARGV[n + 2], tonumber(tried) + 1
    redis.call('SET', key, table.concat({'R', attempt, token, due, status, seen, 0, way, says}, ' '))
    redis.call('ZADD', KEYS[1], due, key)
    redis.call('ZADD', KEYS[3], due, key)
    leased[#leased + 1] = {key, tostring(attempt), token, way, says, held[1], held[2], held[3]}
  else
    -- Somebody removed its record or its parcel by hand.
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('UNLINK', parcel)
  end
end
return leased
