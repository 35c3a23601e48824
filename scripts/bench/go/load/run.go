package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"sort"
	"sync"
	"time"
)

// wrk reads 8 KB at a time, which would make the client the bottleneck of large bodies. This client has
// the kernel throw away what it need not sum up. (It does not send by sendfile: pages of a file reach the proxy in other
// pieces than a client's writes do, and cost it twice the CPU.)
const bufferSize = 256 << 10

const smallAnswer = 512 // bytes; such answers are kept to be looked at

type plan struct {
	url      *url.URL
	host     string
	upload   int64 // bytes of the request body; negative: GET
	sum      string
	sources  int // addresses that connections come from, 127.0.0.2 and on; 0: the kernel's choice
	limit    int // requests a connection; 0: until the deadline
	deadline time.Time
}

type outcome struct {
	durations []time.Duration
	bytes     int64
	sum       string
	answer    string
	errors    map[string]int
}

func run(args []string) {
	flags := flag.NewFlagSet("run", flag.ExitOnError)
	target := flags.String("url", "", "what to fetch")
	connections := flags.Int("c", 1, "connections")
	duration := flags.Duration("d", 5*time.Second, "no request starts later than this")
	limit := flags.Int("n", 0, "requests a connection (0: as many as -d allows)")
	upload := flags.Int64("upload", -1, "POST a body of this many bytes")
	sources := flags.Int("sources", 0, "addresses of 127.0.0.0/8 that connections come from, in turn")
	sum := flags.String("sum", "none", "sum of what is received: none, sha256 or crc32c")
	flags.Parse(args)
	parsed, err := url.Parse(*target)
	if err != nil {
		fail(err)
	}
	start := time.Now()
	p := plan{parsed, parsed.Host, *upload, *sum, *sources, *limit, start.Add(*duration)}
	outcomes := make([]outcome, *connections)
	var workers sync.WaitGroup
	for i := range outcomes {
		workers.Add(1)
		go func(o *outcome, number int) { defer workers.Done(); p.work(o, number) }(&outcomes[i], i)
	}
	workers.Wait()
	report(outcomes, time.Since(start))
}

// work lets a request that was begun come to its end, so that the count of requests is exact.
func (p *plan) work(o *outcome, number int) {
	o.errors = map[string]int{}
	connection, err := p.dial(number)
	if err != nil {
		o.errors[err.Error()]++
		return
	}
	defer connection.Close()
	reader := bufio.NewReaderSize(connection, 32<<10)
	buffer := make([]byte, bufferSize)
	for done := 0; p.limit == 0 || done < p.limit; done++ {
		began := time.Now()
		if p.limit == 0 && began.After(p.deadline) {
			return
		}
		if err := p.exchange(connection.(*net.TCPConn), reader, buffer, o); err != nil {
			o.errors[err.Error()]++
			return
		}
		o.durations = append(o.durations, time.Since(began))
	}
}

func (p *plan) dial(number int) (net.Conn, error) {
	dialer := net.Dialer{}
	if p.sources > 0 {
		host := number%p.sources + 2
		dialer.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 0, byte(host>>8), byte(host))}
	}
	return dialer.Dial("tcp", p.host)
}

func (p *plan) exchange(c *net.TCPConn, reader *bufio.Reader, buffer []byte, o *outcome) error {
	method := "GET"
	extra := ""
	if p.upload >= 0 {
		method = "POST"
		extra = fmt.Sprintf("Content-Length: %d\r\nContent-Type: application/octet-stream\r\n", p.upload)
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", method, p.url.RequestURI(), p.host, extra)
	if _, err := io.WriteString(c, head); err != nil {
		return err
	}
	if p.upload > 0 {
		if err := writePattern(c, p.upload); err != nil {
			return err
		}
	}
	response, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		return err
	}
	if response.StatusCode != 200 {
		return fmt.Errorf("status %d", response.StatusCode)
	}
	if p.sum == "none" && response.ContentLength > smallAnswer {
		o.bytes += response.ContentLength
		return discard(c, reader, response.ContentLength, buffer)
	}
	return p.receive(response, buffer, o)
}

func (p *plan) receive(response *http.Response, buffer []byte, o *outcome) error {
	sum := newSum(p.sum)
	got := int64(0)
	for {
		n, err := response.Body.Read(buffer)
		got += int64(n)
		if sum != nil {
			sum.Write(buffer[:n])
		}
		if p.upload >= 0 && n > 0 && n < smallAnswer {
			o.answer = string(buffer[:n])
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if response.ContentLength >= 0 && got != response.ContentLength {
		return fmt.Errorf("%d of %d bytes", got, response.ContentLength)
	}
	o.bytes += got
	o.sum = hexSum(sum)
	return nil
}

func report(outcomes []outcome, elapsed time.Duration) {
	all := []time.Duration{}
	total := outcome{errors: map[string]int{}}
	for _, o := range outcomes {
		all = append(all, o.durations...)
		total.bytes += o.bytes
		total.sum, total.answer = o.sum, o.answer
		for text, n := range o.errors {
			total.errors[text] += n
		}
	}
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	rank := func(share float64) float64 {
		if len(all) == 0 {
			return 0
		}
		return float64(all[int(share*float64(len(all)-1))].Microseconds()) / 1000
	}
	json.NewEncoder(os.Stdout).Encode(map[string]any{
		"requests": len(all), "seconds": elapsed.Seconds(), "p50_ms": rank(0.5), "p99_ms": rank(0.99),
		"bytes": total.bytes, "sum": total.sum, "answer": total.answer, "errors": total.errors,
	})
}
