-- A script for wrk that sends the requests of the file $POOL in order, again and again. In the file, eight digits before each
-- request give its length.
-- With $DISTINCT, a number, each request gets a query of its own. A ledger tells events apart by endpoint, query and id, so
-- each request is a new event. The signature stays valid, because it covers the body alone.
-- The script needs wrk's -t1: each thread would begin at the start of the pool.
local pool, at = {}, 0
local distinct = tonumber(os.getenv("DISTINCT"))
local start = "POST /webhooks/stripe"

function init()
  local file = assert(io.open(os.getenv("POOL"), "rb"))
  while true do
    local length = file:read(8)
    if not length then break end
    local request = file:read(tonumber(length))
    if distinct then request = request:sub(#start + 1) end
    pool[#pool + 1] = request
  end
  file:close()
end

function request()
  at = at % #pool + 1
  if not distinct then return pool[at] end
  distinct = distinct + 1
  return string.format("%s?n=%d", start, distinct) .. pool[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"n": %d, "us": %d, "refused": %d, "broken": %d, "p50": %.1f, "p99": %.1f}\n',
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
