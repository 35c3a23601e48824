// A reverse proxy as one writes it with Go's standard library: the yardstick of the benchmark.
package main

import (
	"flag"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
)

// buffers spares the 32 KB that ReverseProxy otherwise allocates for every answer.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if kept := b.pool.Get(); kept != nil {
		return *kept.(*[]byte)
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buffer []byte) { b.pool.Put(&buffer) }

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "address to listen on")
	pooled := flag.Bool("pool", false, "reuse copy buffers")
	backend := flag.String("backend", "", "URL of the backend")
	flag.Parse()

	target, err := url.Parse(*backend)
	if err != nil || target.Host == "" {
		log.Fatalf("bad -backend %q", *backend)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	// The default of two idle connections per host would open a connection for almost every request.
	transport.MaxIdleConnsPerHost = 1024
	transport.MaxIdleConns = 0
	// Bytes pass untouched, as they do in every other contestant.
	transport.DisableCompression = true
	proxy.Transport = transport
	if *pooled {
		proxy.BufferPool = &buffers{}
	}
	log.Fatal(http.ListenAndServe(*listen, proxy))
}
