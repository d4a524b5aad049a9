-- Deletes settled records whose retention has passed, in the order of their settlements. Redis' own expiry would delete
-- all of them at once when the server's clock jumps ahead.
--   KEYS  1 the list `settled`   2 the hash `clock`
--   ARGV  1 retention, ms   2 ms between two sweeps   3 ms of settlements that one sweep deletes at most
--         4 ms until Redis itself expires a record   5 the most entries to examine
--   reply  the number of examined entries: as many as asked for if more may follow
-- An entry of `settled` is the time of a settlement, 13 digits, and the record's key without the prefix. The keys of
-- records are read from there, so they are not among KEYS. They have the same hash tag. claim.lua shows the layout of a
-- record.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local key_prefix = string.sub(KEYS[1], 1, -8) -- KEYS[1] without `settled`
local period = tonumber(ARGV[2])

-- A clock that has jumped is not believed for a whole period. lease.lua explains the gap between probes.
local times = redis.call('HMGET', KEYS[2], 'probed', 'jumped', 'swept', 'before')
local since_probe, since_jump = now - (times[1] or now), now - (times[2] or 0)
local first = redis.call('LINDEX', KEYS[1], 0)
if not first or since_probe > 10000 or since_probe < -1000 or (since_jump < period and since_jump > -period) then
  return 0
end
-- On a full server (noeviction), Redis refuses a script if its first write may need memory. This one frees memory, so a
-- write without effect comes first.
redis.call('HDEL', KEYS[2], '')
local since_sweep, before = now - (times[3] or 0), tonumber(times[4] or 0)
if since_sweep >= period or since_sweep < 0 then
  before = math.min(now - ARGV[1], string.sub(first, 1, 13) + ARGV[3])
  redis.call('HSET', KEYS[2], 'swept', now, 'before', before)
end

local examined, limit = 0, tonumber(ARGV[5])
while first and examined < limit do
  local settled, key = string.sub(first, 1, 13), key_prefix .. string.sub(first, 14)
  local is_ahead = settled - now > 86400000
  if not is_ahead and tonumber(settled) >= before then
    break
  end
  redis.call('LPOP', KEYS[1])
  -- A record that was settled again has a later entry.
  local record = redis.call('GET', key)
  if record and string.sub(record, 34, 46) == settled then
    if is_ahead then
      -- A wrong clock has written this time. The retention counts from now.
      redis.call('SET', key, string.sub(record, 1, 33) .. now .. string.sub(record, 47), 'PX', ARGV[4])
      redis.call('RPUSH', KEYS[1], now .. string.sub(first, 14))
    else
      redis.call('DEL', key)
    end
  end
  examined = examined + 1
  first = redis.call('LINDEX', KEYS[1], 0)
end
return examined
