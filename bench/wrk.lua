-- Each call has the next name of a file as its Host, where one is given; at the end it says what was counted, as JSON.

function init(args)
  if not args[1] then return end
  local requests = {}
  for host in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format(nil, nil, { Host = host })
  end
  local turn = 0
  request = function()
    turn = turn % #requests + 1
    return requests[turn]
  end
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '{"requests":%d,"durationUs":%d,"p50Us":%d,"p99Us":%d,' ..
    '"errors":{"connect":%d,"read":%d,"write":%d,"timeout":%d,"status":%d}}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status
  ))
end
