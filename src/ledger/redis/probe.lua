-- Checks that the server accepts writes, and returns the marker that identifies its data set.
--   KEYS  1 the marker
--   ARGV  1 the marker to write if the server has none
--   reply  the marker found, or an empty string
local found = redis.call('GET', KEYS[1]) or ''
redis.call('SET', KEYS[1], found ~= '' and found or ARGV[1])
return found
