-- Sends the requests of a file, each once, or `again` and again: a line with its length in bytes, then the request itself.
-- Prints one JSON object.
local requests, at, again = {}, 0, false

function init(arguments)
  local file = assert(io.open(arguments[1], "rb"))
  while true do
    local size = file:read("*n")
    if not size then break end
    file:read(1)
    requests[#requests + 1] = file:read(size)
  end
  file:close()
  again = arguments[2] == "again"
end

function request()
  at = again and at % #requests + 1 or at + 1
  if not again and at >= #requests then
    wrk.thread:stop()
    at = #requests
  end
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answered": %d, "refused": %d, "broken": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f}\n',
    summary.requests - errors.status, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
