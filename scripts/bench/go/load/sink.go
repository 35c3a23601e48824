package main

import (
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// sink serves POST /upload (reads all, answers count and sum), GET /bytes/N (the pattern) and /health.
func sink(args []string) {
	flags := flag.NewFlagSet("sink", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:0", "address to listen on")
	flags.Parse(args)
	http.HandleFunc("/upload", upload)
	http.HandleFunc("/bytes/", download)
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	fail(http.ListenAndServe(*listen, nil))
}

func upload(w http.ResponseWriter, r *http.Request) {
	sum := newSum(r.URL.Query().Get("sum"))
	buffer := make([]byte, 256<<10)
	total := int64(0)
	for {
		n, err := r.Body.Read(buffer)
		total += int64(n)
		if sum != nil {
			sum.Write(buffer[:n])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	json.NewEncoder(w).Encode(map[string]any{"bytes": total, "sum": hexSum(sum)})
}

func download(w http.ResponseWriter, r *http.Request) {
	size, err := strconv.ParseInt(strings.TrimPrefix(r.URL.Path, "/bytes/"), 10, 64)
	if err != nil || size < 0 {
		http.Error(w, "size?", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
	writePattern(w, size)
}
