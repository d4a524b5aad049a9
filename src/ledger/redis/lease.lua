-- Put before the scripts that judge the lease of another holder.
-- Returns how many ms the lease is still in force that a record says to end at `due`; 0 if it is over. `lease` is the
-- length of leases now. `clock` is the key that probe.lua keeps.
--
-- A lease that ends over an hour later than one granted now was written under a wrong clock. After a jump of the clock,
-- forward or back, a lease from before it cannot be judged by its end. So a whole lease has to pass since the jump.
-- Probes come every 3 s. A longer gap is a jump that no probe has seen yet, or nobody was there to probe.
local function lease_left(now, due, lease, clock)
  local left = due - now
  if left > 0 and left <= lease + 3600000 then
    return left
  end
  local times = redis.call('HMGET', clock, 'probed', 'jumped')
  local since_probe = now - (times[1] or now)
  if since_probe > 10000 or since_probe < -1000 then
    return lease
  end
  left = times[2] and times[2] + lease - now or 0
  return left > 0 and left <= lease and left or 0
end

