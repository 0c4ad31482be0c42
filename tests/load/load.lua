-- load.lua: what wrk sends, by variables of the bench, and its figures as one line of JSON.
-- BENCH_METHOD, BENCH_PATH, BENCH_HEADERS ("Name: value" lines), BENCH_BODIES (lines, in turn),
-- BENCH_ADDRESSES: from how many client addresses, in X-Forwarded-For. BENCH_PAUSE: milliseconds
-- that each connection lets pass before it asks again.
local method = os.getenv("BENCH_METHOD") or "GET"
local path = os.getenv("BENCH_PATH")
local addresses = tonumber(os.getenv("BENCH_ADDRESSES") or "1")
local bodies, turn, head = {}, tonumber(os.getenv("BENCH_FROM") or "0"), nil

for body in (os.getenv("BENCH_BODIES") or ""):gmatch("[^\n]+") do
    bodies[#bodies + 1] = body
end

function init()
    head = method .. " " .. path .. " HTTP/1.1\r\nHost: localhost\r\n"
    for header in (os.getenv("BENCH_HEADERS") or ""):gmatch("[^\n]+") do
        head = head .. header .. "\r\n"
    end
end

function request()
    local n, tail = turn % addresses, "\r\n\r\n"
    turn = turn + 1
    if #bodies > 0 then
        local body = bodies[turn % #bodies + 1]
        tail = "\r\nContent-Type: application/json\r\nContent-Length: " .. #body .. "\r\n\r\n" .. body
    end
    return head .. "X-Forwarded-For: 10." .. math.floor(n / 65536) % 256 .. "." ..
        math.floor(n / 256) % 256 .. "." .. n % 256 .. tail
end

if os.getenv("BENCH_PAUSE") then
    function delay()
        return tonumber(os.getenv("BENCH_PAUSE"))
    end
end

function done(summary, latency)
    local e = summary.errors
    io.write(string.format(
        '\n{"requests":%d,"us":%d,"refused":%d,"broken":%d,"p50":%.1f,"p99":%.1f}\n',
        summary.requests, summary.duration, e.status, e.connect + e.read + e.write + e.timeout,
        latency:percentile(50), latency:percentile(99)))
end
