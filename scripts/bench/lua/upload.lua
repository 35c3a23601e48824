-- A 10 MB POST; used only where the Go client is missing.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 10485760)
