-- For wrk: sends the requests of the pool $POOL in order, each behind its length in eight digits, over and over. With
-- $DISTINCT, a number, each gets a query of its own: a ledger tells events by endpoint, query and id, so every one is
-- new to it, and the signature holds, since it covers the body alone.
-- For one thread (-t1): each thread would begin at the pool's start.
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
