-- Checks that the server accepts writes. Returns the marker that identifies its data set, and this process's write counter.
--   KEYS  1 the marker   2 the write counter of this process   3 the hash `clock`
--   ARGV  1 the marker to write if the server has none   2 ms until the write counter of a process that is gone expires
--   reply  the marker, the write counter; 0 if this process has written nothing
-- The probe does not count as a write: losing one loses no event.
local marker = redis.call('GET', KEYS[1]) or ARGV[1]
redis.call('SET', KEYS[1], marker)
redis.call('PEXPIRE', KEYS[2], ARGV[2])
-- Every process probes every 3 s, so a longer gap is a jump of the clock, or nobody was there. lease.lua needs to know.
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local probed = redis.call('HGET', KEYS[3], 'probed')
local gap = now - (probed or now)
if gap > 10000 or gap < -1000 then
  redis.call('HSET', KEYS[3], 'jumped', now)
end
redis.call('HSET', KEYS[3], 'probed', now)
return {marker, tonumber(redis.call('GET', KEYS[2]) or '0')}
