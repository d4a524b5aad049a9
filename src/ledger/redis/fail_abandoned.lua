-- Makes inline events FAILED whose lease has ended: their process died before it recorded a result.
--   KEYS  1 the sorted set `running`   2 the hash `clock`
--   ARGV  1 ms until Redis itself expires a record   2 the most records to examine
--         3 how many of the first ones to skip   4 the usual lease, ms
--   reply  how many of the first ones the next call skips, then the keys of the records that became FAILED
-- The keys of records are read from `running`, so they are not among KEYS. They have the same hash tag. claim.lua shows
-- the layout of a record. Queued events stay as they are, since claim_due.lua leases them again. The next call skips
-- them, so that they cannot hide the records behind them.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local key_prefix = string.sub(KEYS[1], 1, -8) -- KEYS[1] without `running`
local limit, skipped = tonumber(ARGV[2]), tonumber(ARGV[3])
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', skipped, limit)
local first = #keys
-- Leases with an end that is too far ahead were written under a wrong clock. They are few, and the last.
local too_far = '(' .. now + ARGV[4] + 3600000
for _, key in ipairs(redis.call('ZREVRANGEBYSCORE', KEYS[1], '+inf', too_far, 'LIMIT', 0, limit)) do
  keys[#keys + 1] = key
end
local failed = {0}
for n, key in ipairs(keys) do
  local record = redis.call('GET', key)
  if not record or string.sub(record, 1, 1) ~= 'R' then
    redis.call('ZREM', KEYS[1], key) -- someone deleted the record by hand
  elseif string.sub(record, 66, 66) ~= '-'
    or lease_left(now, string.sub(record, 20, 32), tonumber(ARGV[4]), KEYS[2]) > 0 then
    skipped = skipped + (n <= first and 1 or 0)
  else
    -- The token goes, so that a late failure of the old holder changes nothing. Its 2xx still counts.
    redis.call('ZREM', KEYS[1], key)
    redis.call('SET', key, 'F 0000000000000000 0000000000000 ' .. now .. string.sub(record, 47), 'PX', ARGV[1])
    redis.call('RPUSH', key_prefix .. 'settled', now .. string.sub(key, #key_prefix + 1)) -- expire.lua reads it
    failed[#failed + 1] = key
  end
end
failed[1] = first == limit and skipped or 0
return failed
