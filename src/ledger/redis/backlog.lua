-- Counts the unsettled events of each endpoint.
--   KEYS  1 the sorted set `running`   2 the set `queued_endpoints`   3 the sorted set `polled`
--   ARGV  1 key prefix
--   reply  for each endpoint: name, running, pending, dead, queued (running or pending),
--          ms since the oldest pending event was received, ms since a process last polled; -1 if there is none;
--          ms until the first lease of a running event ends, negative after it; 0 if none runs
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local key_prefix = ARGV[1]
-- `due` holds pending events and leased ones. Counting the leased ones here gives the pending ones by subtraction.
local running, leased, is_running, lease_end = {}, {}, {}, {}
local members = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
for n = 1, #members, 2 do
  local key = members[n]
  local endpoint = string.match(key, '^[^ ]* (.*)$', #key_prefix + 1) or ''
  running[endpoint] = (running[endpoint] or 0) + 1
  is_running[key] = true
  lease_end[endpoint] = lease_end[endpoint] or members[n + 1] -- the first lease to end comes first
  if redis.call('ZSCORE', key_prefix .. 'queued ' .. endpoint, key) then
    leased[endpoint] = (leased[endpoint] or 0) + 1
  end
end

local function lease_left(endpoint)
  return tostring(lease_end[endpoint] and lease_end[endpoint] - now or 0)
end

-- Returns when the oldest pending event was received. Before it in the set are at most the leased events.
local function oldest_pending(endpoint)
  local from = 0
  while true do
    local found = redis.call('ZRANGE', key_prefix .. 'queued ' .. endpoint, from, from + 63, 'WITHSCORES')
    for n = 1, #found, 2 do
      if not is_running[found[n]] then
        return found[n + 1]
      end
    end
    if #found == 0 then
      return nil
    end
    from = from + 64
  end
end

local rows = {}
local function count(endpoint)
  local queued = redis.call('ZCARD', key_prefix .. 'due ' .. endpoint)
  local pending = queued - (leased[endpoint] or 0)
  local dead = redis.call('ZCARD', key_prefix .. 'dead ' .. endpoint)
  local oldest = oldest_pending(endpoint)
  local age = oldest and now - oldest or -1
  local polled = redis.call('ZSCORE', KEYS[3], endpoint)
  local polled_ago = polled and now - polled or -1
  rows[#rows + 1] = {endpoint, tostring(running[endpoint] or 0), tostring(pending), tostring(dead), tostring(queued),
    tostring(age), tostring(polled_ago), lease_left(endpoint)}
  running[endpoint] = nil
end
for _, endpoint in ipairs(redis.call('SMEMBERS', KEYS[2])) do
  count(endpoint)
end
-- What remains are endpoints that deliver inline and have never queued an event.
for endpoint in pairs(running) do
  rows[#rows + 1] = {endpoint, tostring(running[endpoint]), '0', '0', '0', '-1', '-1', lease_left(endpoint)}
end
return rows
