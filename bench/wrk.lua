-- What wrk sends, and one line of JSON at the end.
--
--     wrk ... -s wrk.lua URL -- BODY_BYTES ROUTES
--
-- Without routes nothing runs here per request: the request is made once.

local function pattern(size)        -- as origin.c answers it
  local line = {}
  for i = 0, 831 do                 -- 64 and 26 divide 832
    line[i + 1] = i % 64 == 63 and "\n" or string.char(97 + i % 26)
  end
  local one = table.concat(line)
  return string.rep(one, math.floor(size / #one) + 1):sub(1, size)
end

function init(args)
  local size, routes = tonumber(args[1]), tonumber(args[2])
  if size > 0 then
    wrk.method, wrk.body = "POST", pattern(size)
  end
  if routes > 1 then
    local all, at = {}, 0
    for i = 0, routes - 1 do
      all[i] = wrk.format(nil, wrk.path .. "/r" .. i)
    end
    request = function()
      at = (at + 1) % routes
      return all[at]
    end
  end
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%d,"us":%d,"bytes":%d,' ..
    '"p50":%d,"p90":%d,"p99":%d,"p999":%d,"max":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
    summary.requests, summary.duration, summary.bytes,
    latency:percentile(50), latency:percentile(90), latency:percentile(99),
    latency:percentile(99.9), latency.max,
    e.connect, e.read, e.write, e.status, e.timeout))
end
