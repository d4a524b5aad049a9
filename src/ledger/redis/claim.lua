-- Leases an event to the caller, who then delivers it inline. A repeated call with the same token gets the same reply.
--   KEYS  1 the event's record   2 the sorted set `running`   3 the hash `clock`
--   ARGV  1 token   2 lease, ms   3 metadata of the event
--   reply  {1, attempt}  leased    {2, ms left}  in flight    {3, 0}  delivered before, or queued
--
-- Layout of a record. Every field up to `mode` has fixed columns, so that scripts cut the string and do not parse it.
-- The number is the field's first column:
--   1 state   3 token   20 due   34 settled   48 status   52 seen   66 mode   68 attempts, then the metadata
--   state    R running   F failed   D delivered   P pending   X dead
--   times    Unix ms by this server's clock, 13 digits; zeros if there is none
--   status   the backend's last status, 3 digits
--   mode     - inline, no payload stored   q queued   h hybrid   r redelivery
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2] + 1000000, 2, 4)
local due = now + ARGV[2]
local attempt, seen = 1, now

local record = redis.call('GET', KEYS[1])
if record then
  local state = string.sub(record, 1, 1)
  if state ~= 'F' and (state ~= 'R' or string.sub(record, 66, 66) ~= '-') then
    return {3, 0}
  end
  attempt = tonumber(string.match(record, '^%d+', 68))
  if state == 'R' then
    if string.sub(record, 3, 18) == ARGV[1] then
      return {1, attempt}
    end
    local left = lease_left(now, string.sub(record, 20, 32), tonumber(ARGV[2]), KEYS[3])
    if left > 0 then
      return {2, left}
    end
  end
  attempt, seen = attempt + 1, string.sub(record, 52, 64)
end

if not record then
  -- `variants` is spelled as in keys.rs. It has the hash tag of KEYS, so it is not among them.
  local key_prefix = string.sub(KEYS[2], 1, -8) -- KEYS[2] without `running`
  redis.call('SADD', key_prefix .. 'variants', string.match(KEYS[1], '[/?].*$', #key_prefix + 1))
end
redis.call('ZADD', KEYS[2], due, KEYS[1])
redis.call('SET', KEYS[1],
  'R ' .. ARGV[1] .. ' ' .. due .. ' 0000000000000 000 ' .. seen .. ' - ' .. attempt .. ' ' .. ARGV[3])
return {1, attempt}
