-- Heads of a browser's size (ten fields and a cookie) over 10,000 targets. Built once: wrk must not be the bottleneck.
local TARGETS = 10000
local requests = {}
local next_one = 0

init = function()
  local rest = " HTTP/1.1\r\n"
    .. "Host: " .. wrk.host .. ":" .. wrk.port .. "\r\n"
    .. "Connection: keep-alive\r\n"
    .. 'sec-ch-ua: "Chromium";v="124", "Google Chrome";v="124", "Not-A.Brand";v="99"\r\n'
    .. "sec-ch-ua-mobile: ?0\r\n"
    .. "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n"
    .. "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n"
    .. "Sec-Fetch-Site: same-origin\r\n"
    .. "Sec-Fetch-Mode: navigate\r\n"
    .. "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    .. "Accept-Language: en-GB,en;q=0.9,de;q=0.8\r\n"
    .. "Cookie: sid=4f1c2a9e7b6d48c0a1f35be29d807c64; theme=dark; consent=analytics.ads; _ga=GA1.1.1203984.1716400000\r\n\r\n"
  for i = 1, TARGETS do
    requests[i] = "GET /catalogue/items/" .. (100000 + i) .. "?page=" .. (i % 17) .. "&sort=price" .. rest
  end
end

request = function()
  next_one = next_one % TARGETS + 1
  return requests[next_one]
end
