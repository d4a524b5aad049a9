-- Leases queued events of one endpoint that are due, or that were leased and whose lease has ended.
--   KEYS  1 `due` of the endpoint   2 `queued` of the endpoint   3 the sorted set `running`   4 the sorted set `polled`
--         5 the hash `clock`
--   ARGV  1 lease, ms   2 key prefix   3 endpoint   4 the longest wait, ms
--         5... one token for each event that may be leased
--   reply  for each leased event: its record's key, attempt, token, mode, metadata
-- The keys of records and payloads are read from `due`, so they are not among KEYS. They have the same hash tag.
-- claim.lua shows the layout of a record. The caller reads the payloads with plain commands: a script would hash every
-- byte of them, because Lua interns strings.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local due = now + ARGV[1]
local key_prefix = ARGV[2]
local leased, records, scores, bytes = {}, {}, {}, 0

-- On a full server (noeviction), Redis refuses a script if its first write may need memory. Due events must be leased
-- there too, because delivering them frees memory. So a ZREM without effect comes first, the ZADD to `polled` last.
redis.call('ZREM', KEYS[4], '')
local limit = #ARGV - 4
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, limit)
if #keys < limit then
  -- What is due further ahead than any wait was written under a wrong clock, so it is due now.
  local too_far = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now + ARGV[4], '+inf', 'LIMIT', 0, limit - #keys)
  for _, key in ipairs(too_far) do
    keys[#keys + 1] = key
  end
end
local found = #keys > 0 and redis.call('MGET', unpack(keys)) or {}
for n, key in ipairs(keys) do
  local record = found[n] or ''
  local state = string.sub(record, 1, 1)
  local payload = key_prefix .. '/' .. string.sub(key, #key_prefix + 1)
  local length = redis.call('HSTRLEN', payload, 'body')
  local left = state == 'R' and lease_left(now, string.sub(record, 20, 32), tonumber(ARGV[1]), KEYS[5]) or 0
  if left > 0 and length > 0 then
    -- The clock has jumped. The event is due when its lease is over.
    records[#records + 1] = key
    records[#records + 1] = string.sub(record, 1, 19) .. now + left .. string.sub(record, 33)
    scores[#scores + 1] = now + left
    scores[#scores + 1] = key
  elseif (state == 'P' or state == 'R') and length > 0 then
    local attempts, metadata = string.match(record, '^(%d+) (.*)$', 68)
    local token, attempt = ARGV[n + 4], attempts + 1
    records[#records + 1] = key
    records[#records + 1] = 'R ' .. token .. ' ' .. due .. ' 0000000000000' .. string.sub(record, 47, 67) .. attempt
      .. ' ' .. metadata
    scores[#scores + 1] = due
    scores[#scores + 1] = key
    leased[#leased + 1] = {key, tostring(attempt), token, string.sub(record, 66, 66), metadata}
    bytes = bytes + length + redis.call('HSTRLEN', payload, 'head')
    if bytes > 4194304 then
      break -- The caller reads these payloads next. More would block the shared connection for too long.
    end
  else
    -- Someone deleted the record or the payload by hand. What is left of the event cannot be delivered.
    redis.call('ZREM', KEYS[1], key)
    redis.call('ZREM', KEYS[2], key)
    redis.call('ZREM', KEYS[3], key)
    redis.call('UNLINK', payload)
  end
end
if #records > 0 then
  redis.call('MSET', unpack(records))
  redis.call('ZADD', KEYS[1], unpack(scores))
  redis.call('ZADD', KEYS[3], unpack(scores))
end
redis.call('ZADD', KEYS[4], now, ARGV[3])
return leased
