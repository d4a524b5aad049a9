-- Counts what is not settled.
--   KEYS  1 the running   2 the endpoints that have kept events   3 the served
--   ARGV  1 what every key begins with
--   answers  for each endpoint: its name, running, pending, dead, kept and not dead, ms since the oldest of these came,
--            ms since somebody asked what of it is due; -1 where there is none
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local stem = ARGV[1]
local running, kept = {}, {}
for _, key in ipairs(redis.call('SMEMBERS', KEYS[1])) do
  local endpoint = string.match(key, '^[^ ]* (.*)$', #stem + 1) or ''
  running[endpoint] = (running[endpoint] or 0) + 1
  if redis.call('ZSCORE', stem .. 'kept ' .. endpoint, key) then
    kept[endpoint] = (kept[endpoint] or 0) + 1
  end
end

local told = {}
local function tell(endpoint)
  local oldest = redis.call('ZRANGE', stem .. 'kept ' .. endpoint, 0, 0, 'WITHSCORES')
  local held = redis.call('ZCARD', stem .. 'due ' .. endpoint)
  local pending = held - (kept[endpoint] or 0)
  local dead = redis.call('ZCARD', stem .. 'dead ' .. endpoint)
  local age = oldest[2] and now - oldest[2] or -1
  local served = redis.call('ZSCORE', KEYS[3], endpoint)
  local idle = served and now - served or -1
  told[#told + 1] = {endpoint, tostring(running[endpoint] or 0), tostring(pending), tostring(dead), tostring(held),
    tostring(age), tostring(idle)}
  running[endpoint] = nil
end
for _, endpoint in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  tell(endpoint)
end
for endpoint in pairs(running) do
  told[#told + 1] = {endpoint, tostring(running[endpoint]), '0', '0', '0', '-1', '-1'}
end
return told
