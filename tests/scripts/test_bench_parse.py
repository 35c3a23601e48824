"""What the benchmark reads out of the load programs' output."""

import pytest

from scripts.bench import parse

WRK = """Running 5s test @ http://127.0.0.1:8080/
  1 threads and 50 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     2.57ms  411.20us  12.20ms   89.71%
    Req/Sec    19.51k     0.90k   21.02k    76.00%
  Latency Distribution
     50%    2.52ms
     75%  990.00us
     90%    1.02s
     99%    4.47ms
  97065 requests in 5.00s, 14.99MB read
Requests/sec:  19409.12
Transfer/sec:      3.00MB
"""
WRK_ERRORS = WRK.replace(
    "Requests/sec",
    "  Socket errors: connect 0, read 3, write 0, timeout 7\n  Non-2xx or 3xx responses: 12\nRequests/sec",
)
H2LOAD = """
finished in 2.00s, 9600.50 req/s, 1.50MB/s
requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout
status codes: 3 2xx, 0 3xx, 0 4xx, 1 5xx
"""


def test_wrk_gives_exact_count_rate_and_percentiles_in_ms():
    load = parse.wrk(WRK)
    assert (load.requests, load.p50_ms, load.p99_ms, load.errors) == (97065, 2.52, 4.47, ())
    assert load.rate == pytest.approx(19409.12)


@pytest.mark.parametrize(("text", "ms"), [("990.00us", 0.99), ("4.47ms", 4.47), ("1.02s", 1020), ("1.50m", 90_000)])
def test_wrk_percentiles_come_in_any_unit(text, ms):
    assert parse.wrk(WRK.replace("4.47ms", text)).p99_ms == pytest.approx(ms)


def test_wrk_errors_are_told_and_zeros_are_not():
    assert parse.wrk(WRK_ERRORS).errors == ("12 answers that are not 2xx", "3 read errors", "7 timeout errors")


@pytest.mark.parametrize("read", [parse.wrk, parse.client, lambda text: parse.h2load(text, [])])
def test_other_output_is_refused(read):
    with pytest.raises(ValueError, match="not the output of"):
        read("unable to connect to 127.0.0.1:1 Connection refused")


def test_client_json():
    line = (
        '{"requests": 10, "seconds": 2.0, "p50_ms": 1.5, "p99_ms": 9, "bytes": 5, "sum": "", "answer": "", '
        '"errors": {"EOF": 2}}'
    )
    load = parse.client(line)
    assert (load.rate, load.p50_ms, load.errors) == (5.0, 1.5, ("2 x EOF",))


def test_h2load_percentiles_come_from_its_log():
    log = [
        f"1600000000000000\t{status}\t{micros}\n" for status, micros in [(200, 900), (200, 100), (503, 500), (200, 300)]
    ]
    load = parse.h2load(H2LOAD, log)
    assert (load.requests, load.rate, load.p50_ms) == (4, 2.0, 0.3)
    assert load.errors == ("1 failed", "1 answers that are not 2xx")
