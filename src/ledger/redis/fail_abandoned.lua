-- Makes inline events FAILED whose lease has ended: their process died before it recorded a result.
--   KEYS  1 the sorted set `running`
--   ARGV  1 retention, ms   2 the most records to examine   3 how many of the first ones to skip
--   reply  how many of the first ones the next call skips, then the keys of the records that became FAILED
-- The keys of records are read from `running`, so they are not among KEYS. They have the same hash tag. claim.lua shows
-- the layout of a record. Queued events stay as they are, since claim_due.lua leases them again. The next call skips
-- them, so that they cannot hide the records behind them.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local limit, skipped = tonumber(ARGV[2]), tonumber(ARGV[3])
local keys = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', skipped, limit)
local failed = {0}
for _, key in ipairs(keys) do
  local record = redis.call('GET', key)
  if not record or string.sub(record, 1, 1) ~= 'R' then
    redis.call('ZREM', KEYS[1], key) -- someone deleted the record by hand
  elseif string.sub(record, 66, 66) ~= '-' then
    skipped = skipped + 1
  else
    -- The token goes, so that a late failure of the old holder changes nothing. Its 2xx still counts.
    redis.call('ZREM', KEYS[1], key)
    redis.call('SET', key, 'F 0000000000000000 0000000000000 ' .. now .. string.sub(record, 47), 'PX', ARGV[1])
    failed[#failed + 1] = key
  end
end
failed[1] = #keys == limit and skipped or 0
return failed
