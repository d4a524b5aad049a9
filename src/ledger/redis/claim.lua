-- Asks for the right to deliver an event. Sent twice with one token, it answers the same.
--   KEYS  1 the event's record   2 the running
--   ARGV  1 token   2 lease, ms   3 what the record says of the event
--   answers  {1, attempt}  leased    {2, ms left}  in flight    {3, 0}  delivered before, or kept
-- A record:  state attempts token due status seen settled way what-it-says
--   state    R running   F failed   D delivered   P pending   X dead
--   times    Unix ms by this server's clock; 0 where there is none
--   way      - not kept   q queued   h hybrid   r redelivery
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = tonumber(ARGV[2])
local attempts, seen = 0, now

local record = redis.call('GET', KEYS[1])
if record then
  local state, tried, token, due, first, way = string.match(record, '^(%u) (%d+) (%x+) (%d+) %d+ (%d+) %d+ (%S) ')
  if state ~= 'F' and (state ~= 'R' or way ~= '-') then
    return {3, 0}
  end
  if state == 'R' then
    if token == ARGV[1] then
      return {1, tonumber(tried)}
    end
    -- A lease that has an hour more than one granted now was written under a wrong clock.
    local left = due - now
    if left > 0 and left <= lease + 3600000 then
      return {2, left}
    end
  end
  attempts, seen = tonumber(tried), first
end

attempts = attempts + 1
local due = now + lease
redis.call('SET', KEYS[1], table.concat({'R', attempts, ARGV[1], due, 0, seen, 0, '-', ARGV[3]}, ' '))
redis.call('ZADD', KEYS[2], due, KEYS[1])
return {1, attempts}
