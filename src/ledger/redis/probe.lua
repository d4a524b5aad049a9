-- Shows whether the server takes writes, and whether it is the one it was.
--   KEYS  1 the marker   ARGV  1 a marker for a server that has none
--   answers  the marker there was, or an empty string
local found = redis.call('GET', KEYS[1]) or ''
redis.call('SET', KEYS[1], found ~= '' and found or ARGV[1])
return found
