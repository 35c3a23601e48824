-- Nine fields; cookie and traceparent differ in every request, so no two heads are ever equal.
-- wrk.path is the target of the command line, so the same script serves "unique" and "unique_both".
local before, after
local count = 0

init = function()
  -- Rounds must not repeat each other's heads: the address of a fresh table differs from run to run, as does the time.
  local run = tostring({}):gsub("%W", "") .. os.time()
  before = "GET " .. wrk.path .. " HTTP/1.1\r\n"
    .. "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
    .. "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0\r\n"
    .. "Accept: application/json, text/plain, */*\r\n"
    .. "Accept-Language: en-GB,en;q=0.9\r\n"
    .. "Accept-Encoding: gzip, deflate, br\r\n"
    .. "Cache-Control: no-cache\r\n"
    .. "Referer: http://" .. wrk.host .. "/catalogue\r\n"
    .. "Cookie: sid=" .. run .. "-"
  after = "\r\ntraceparent: 00-4bf92f3577b34da6a3ce929d"
end

request = function()
  count = count + 1
  local number = string.format("%08x", count)
  return before .. number .. after .. number .. "-00f067aa0ba902b7-01\r\n\r\n"
end
