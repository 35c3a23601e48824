import pytest

from aegis.config.check import is_own_listener
from aegis.config.load import ConfigErrors, load_text

BACKENDS = "backends: [{url: 'http://a:1', weight: 1}]\n"


def messages(text):
    try:
        load_text(text, "f.yml", {})
    except ConfigErrors as caught:
        return [f"{error.path}: {error.message}" for error in caught.errors]
    return []


def accepted(text):
    return messages(BACKENDS + text) == []


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("server.port", ["1", "65535"], ["0", "65536", "-1"]),
        ("server.max_header_bytes", ["256", "1048576"], ["255", "1048577"]),
        ("server.max_body_bytes", ["1", "1099511627776"], ["0", "1099511627777", "99999999999999999999999"]),
        ("server.max_connections", ["1", "1000000"], ["0", "1000001"]),
        ("server.workers", ["1", "256", "auto"], ["0", "257", "2.5"]),
        ("server.read_timeout", ["1ns", "8760h"], ["0", "0s", "-1s", "8760h1ns"]),
        ("server.write_timeout", ["1ns"], ["0s"]),
        ("server.idle_timeout", ["1ns"], ["0s"]),
        ("server.shutdown_timeout", ["1ns"], ["0s"]),
        ("server.shutdown_delay", ["0", "0s", "8760h"], ["-1s", "8761h"]),
        ("transport.connect_timeout", ["1ns"], ["0s"]),
        ("transport.response_header_timeout", ["1ns"], ["0s"]),
        ("transport.read_timeout", ["1ns"], ["0s"]),
        ("transport.stream_idle_timeout", ["1ns"], ["0s"]),
        ("transport.idle_conn_timeout", ["1ns"], ["0s"]),
        ("transport.max_idle_per_backend", ["1", "65536"], ["0", "65537"]),
        ("retry.budget_percent", ["0", "100"], ["-1", "101"]),
        ("retry.min", ["0", "10000"], ["-1", "10001"]),
        ("health_check.interval", ["3s", "8760h"], ["9ms", "0s"]),
        ("health_check.timeout", ["1ns", "10s"], ["0s", "10001ms"]),
        ("health_check.unhealthy_threshold", ["1", "1000000"], ["0", "1000001"]),
        ("health_check.healthy_threshold", ["1", "1000000"], ["0", "1000001"]),
        ("rate_limit.requests_per_second", ["10", "500", "10.5"], ["9.9", "500.1", "0", "-1", "1000001"]),
        ("rate_limit.burst", ["1", "1000000"], ["0", "1000001"]),
        ("rate_limit.cleanup_interval", ["10ms"], ["9ms", "0s"]),
        ("rate_limit.max_entries", ["1", "10000000"], ["0", "10000001"]),
        ("rate_limit.ipv6_prefix", ["1", "128"], ["0", "129"]),
        ("adaptive.evaluation_interval", ["10ms"], ["9ms", "0s"]),
        ("adaptive.latency_threshold_ms", ["0.1", "3600000"], ["0", "-1", "3600001"]),
        ("adaptive.reduction_factor", ["0.01", "0.99"], ["0", "1", "1.1", "-0.5"]),
        ("adaptive.recovery_factor", ["1.01", "100"], ["1", "0.9", "101"]),
        ("adaptive.min_rate", ["0.1", "100"], ["0", "-1", "100.1", "501"]),
        ("adaptive.max_rate", ["100", "1000000"], ["99", "9", "0", "1000001"]),
        ("adaptive.min_samples", ["0", "1000000"], ["-1", "1000001"]),
        ("circuit_breaker.failure_threshold", ["1", "1000000"], ["0", "1000001"]),
        ("circuit_breaker.success_threshold", ["1", "1000000"], ["0", "1000001"]),
        ("circuit_breaker.open_timeout", ["1ns"], ["0s"]),
        ("circuit_breaker.half_open_max_requests", ["1", "1000000"], ["0", "1000001"]),
        ("metrics.window", ["1ns"], ["0s"]),
        ("metrics.window_samples", ["1", "100000"], ["0", "100001"]),
        ("tui.refresh_interval", ["10ms"], ["9ms", "0s"]),
    ],
)
def test_every_range_is_checked(key, inside, outside):
    section, _, name = key.partition(".")
    for value in inside:
        assert messages(f"{BACKENDS}{section}: {{{name}: {value}}}") == []
    for value in outside:
        assert len(messages(f"{BACKENDS}{section}: {{{name}: {value}}}")) == 1, value


@pytest.mark.parametrize(
    "key", ["server.steering", "rate_limit.mode", "adaptive.mode", "adaptive.grow", "balancing.policy"]
)
def test_a_choice_outside_the_list_is_an_error(key):
    section, _, name = key.partition(".")
    (message,) = messages(f"{BACKENDS}{section}: {{{name}: other}}")
    assert "must be one of" in message


def test_weights_are_zero_or_more_with_one_above_zero():
    pair = "backends: [{{url: 'http://a', weight: {}}}, {{url: 'http://b', weight: {}}}]"
    assert messages(pair.format(0, 1)) == []
    assert messages(pair.format(0, 1000)) == []
    assert messages(pair.format(0, 0)) == [
        "backends: at least one weight must be above 0, or no request could be served"
    ]
    assert len(messages(pair.format(0, -1))) == len(messages(pair.format(1, 1001))) == 1


def test_the_rate_lies_between_the_bounds_of_the_adaptive_loop_whether_it_runs_or_not():
    # Switched on at run time by a reload, the loop must find a rate that it may have.
    assert "raise adaptive.max_rate" in messages(BACKENDS + "rate_limit: {requests_per_second: 501}")[0]
    assert "lower adaptive.min_rate" in messages(BACKENDS + "rate_limit: {requests_per_second: 9}")[0]
    for enabled in ("true", "false"):
        loop = f"adaptive: {{enabled: {enabled}"
        assert len(messages(BACKENDS + "rate_limit: {requests_per_second: 501}\n" + loop + "}")) == 1
        assert len(messages(BACKENDS + "rate_limit: {requests_per_second: 9}\n" + loop + "}")) == 1
        assert accepted("rate_limit: {requests_per_second: 501}\n" + loop + ", max_rate: 501}")
    assert accepted("rate_limit: {requests_per_second: 501}\nadaptive: {max_rate: 501}")


def test_ipv6_prefix_is_64_with_several_workers():
    assert accepted("rate_limit: {ipv6_prefix: 56}")
    assert accepted("server: {workers: 2}")
    for workers in ("2", "auto"):
        (message,) = messages(f"{BACKENDS}server: {{workers: {workers}}}\nrate_limit: {{ipv6_prefix: 56}}")
        assert message.startswith("rate_limit.ipv6_prefix: must be 64 with several workers")


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("", "must be a url such as http://localhost:8081"),
        ("a:1", "write http://a:1"),
        ("unix:/run/app.sock", "unix sockets are not supported"),
        ("ftp://a", "http or https"),
        ("unix:///run/a", "unix sockets are not supported"),
        ("http://", "has no host"),
        ("http:///x", "must not have a path"),
        ("http://:80", "no valid host name"),
        ("http://a/x", "must not have a path"),
        ("http://a//", "must not have a path"),
        ("http://a\\\\x", "must not have a path"),
        ("http://a?x", "must not have a query"),
        ("http://a/?x", "must not have a query"),
        ("http://a#x", "must not have a fragment"),
        ("http://me@a", "user name or password"),
        ("http://me:pw@a", "user name or password"),
        ("http://a:", "port must be"),
        ("http://a:0", "port must be"),
        ("http://a:65536", "port must be"),
        ("http://a:+1", "port must be"),
        ("http://a:8o", "port must be"),
        ("http://::1", "need brackets"),
        ("http://[::1", "bracket out of place"),
        ("http://[::1]80", "bracket out of place"),
        ("http://[::g]", "no valid IPv6 address"),
        ("http://[1.2.3.4]", "no valid IPv6 address"),
        ("http://[fe80::1%25eth0]", "zone id"),
        ("http://a b", "spaces or control"),
        (" http://a", "spaces or control"),
        ("http://a\\n", "spaces or control"),
        ("http://bücher.example", "xn-- form"),
        ("http://a..b", "no valid host name"),
        ("http://-a", "no valid host name"),
        (f"http://{'a' * 64}", "no valid host name"),
        (f"http://{'a.' * 127}aa", "no valid host name"),
        ("http://a%2fb", "no valid host name"),
    ],
)
def test_each_fault_of_a_backend_url_has_its_own_remedy(url, remedy):
    (message,) = messages(f'backends: [{{url: "{url}", weight: 1}}]')
    assert message.startswith("backends[0].url: ")
    assert remedy in message


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("http://a", ("http", "a", 80, "a:80")),
        ("https://a/", ("https", "a", 443, "a:443")),
        ("HTTP://Web_1.Example:8081", ("http", "web_1.example", 8081, "web_1.example:8081")),
        ("http://[0:0::1]:65535", ("http", "::1", 65535, "[::1]:65535")),
        ("http://127.0.0.1:1", ("http", "127.0.0.1", 1, "127.0.0.1:1")),
        ("http://a.example.:1", ("http", "a.example.", 1, "a.example.:1")),
    ],
)
def test_ports_default_to_80_and_443_and_ipv6_stands_in_brackets(url, parts):
    (backend,) = load_text(f"backends: [{{url: '{url}', weight: 1}}]", "f", {}).backends
    assert (backend.scheme, backend.host, backend.port, backend.name) == parts


@pytest.mark.parametrize("second", ["http://a:80", "http://a/", "HTTP://A", "http://a."])
def test_the_same_url_twice_is_an_error_however_it_is_written(second):
    (message,) = messages(f"backends: [{{url: 'http://a', weight: 1}}, {{url: '{second}', weight: 1, name: b}}]")
    assert message == "backends[1].url: is the same as backends[0]; use weight for a larger share"


def test_names_are_unique_and_of_1_to_64_plain_characters():
    pair = "backends: [{{url: 'http://a', weight: 1, name: '{}'}}, {{url: 'http://b', weight: 1, name: '{}'}}]"
    assert messages(pair.format("x", "y")) == []
    assert messages(pair.format("a-Z.0_:[]", "n" * 64)) == []
    assert "another `name`" in messages(pair.format("x", "x"))[0]
    assert "another `name`" in messages(pair.format("b:80", "b:80"))[0]
    for name in ("n" * 65, "a b", "a/b", "é"):
        assert messages(pair.format("x", name))[0].startswith("backends[1].name: must be 1 to 64")
    both = "backends: [{url: 'http://a:443', weight: 1}, {url: 'https://a', weight: 1}]"
    assert "backends[1].url: would have the same name as backends[0], a:443" in messages(both)[0]
    assert "give it a `name`" in messages(f"backends: [{{url: 'http://{'a' * 63}', weight: 1}}]")[0]


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("*", True),
        ("example.com", True),
        ("EXAMPLE.com.", True),
        ("*.example.com", True),
        ("10.0.0.1", True),
        ("[::1]", True),
        ("::1", False),
        ("*.[::1]", False),
        ("example.com:80", False),
        ("http://example.com", False),
        ("me@example.com", False),
        ("a.*.com", False),
        ("*example.com", False),
        ("*.", False),
        ("", False),
        ("bücher.example", False),
        ("a b", False),
    ],
)
def test_allowed_hosts_are_exact_names_or_a_suffix_or_a_star(host, fine):
    assert accepted(f'server: {{allowed_hosts: ["{host}"]}}') is fine


@pytest.mark.parametrize(
    ("methods", "fine"),
    [
        ("[GET]", True),
        ("[PROPFIND, M-SEARCH]", True),
        ("[]", False),
        ("[CONNECT]", False),
        ("[trace]", False),
        ("[get]", False),
        ('["GE T"]', False),
        ('[""]', False),
        ('["G(T"]', False),
    ],
)
def test_allowed_methods_are_tokens_and_never_connect_or_trace(methods, fine):
    assert accepted(f"server: {{allowed_methods: {methods}}}") is fine


@pytest.mark.parametrize(
    ("host", "fine"),
    [
        ("0.0.0.0", True),
        ("::", True),
        ("localhost", True),
        ("host.internal", True),
        ("[::]", False),
        ("", False),
        ("127.1", False),
        ("256.1.1.1", False),
        ("fe80::1%eth0", False),
        ("a:80", False),
    ],
)
def test_the_listen_host_is_an_address_or_a_name(host, fine):
    assert accepted(f'server: {{host: "{host}"}}') is fine


@pytest.mark.parametrize(
    ("admin", "message"),
    [
        ('listen: ""', None),
        ("listen: 127.0.0.1:9090", None),
        ("listen: localhost:9090", None),
        ('listen: "[::1]:9090"', None),
        ("listen: unix:/run/aegis/admin.sock", None),
        ("listen: 10.0.0.1:9090", "set admin.allow_remote: true"),
        ("listen: 0.0.0.0:9090", "set admin.allow_remote: true"),
        ('listen: "[::]:9090"', "set admin.allow_remote: true"),
        ("listen: 0.0.0.0:9090, allow_remote: true", None),
        ("health_listen: 0.0.0.0:9091", None),
        ('listen: ":9090"', "must name the host too"),
        ("listen: 9090", "must be host:port"),
        ("listen: '::1:9090'", "must be host:port"),
        ("listen: name:9090", "IP address or localhost"),
        ("listen: 127.0.0.1:0", "port must be"),
        ("listen: 127.0.0.1:65536", "port must be"),
        ("listen: 127.0.0.1:8080", "takes the port of server.port"),
        ("health_listen: 0.0.0.0:8080", "takes the port of server.port"),
        ("listen: unix:run/x", "must be absolute"),
        ("listen: unix:/run/", "must be absolute"),
        (f"listen: unix:/{'x' * 106}", None),
        (f"listen: unix:/{'x' * 107}", "at most 107 bytes"),
        ("listen: 127.0.0.1:9090, health_listen: 0.0.0.0:9090", "is the same as admin.listen"),
        ("listen: unix:/a, health_listen: unix:/a", "is the same as admin.listen"),
        ("listen: unix:/a, health_listen: unix:/b", None),
    ],
)
def test_admin_addresses(admin, message):
    found = messages(f"{BACKENDS}admin: {{{admin}}}")
    assert len(found) == (message is not None)
    assert (message or "") in "".join(found)


@pytest.mark.parametrize("key", ["allowed_backend_networks", "trusted_proxies"])
@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("10.0.0.0/8", None),
        ("10.1.2.3", None),
        ("fd00::/8", None),
        ("0.0.0.0/0", None),
        ("10.0.0.1/8", "did you mean 10.0.0.0/8?"),
        ("10.0.0.0/33", "must be a network such as"),
        ("10.0.0", "must be a network such as"),
        ("example.com", "must be a network such as"),
        ("::ffff:10.0.0.0/104", "write it as IPv4"),
    ],
)
def test_networks_are_cidrs(key, network, message):
    found = messages(f'{BACKENDS}security: {{{key}: ["{network}"]}}')
    assert len(found) == (message is not None)
    assert (message or "") in "".join(found)


@pytest.mark.parametrize(
    ("path", "fine"),
    [
        ("/", True),
        ("/health?full=1", True),
        ("/a%20b", True),
        ("health", False),
        ("", False),
        ("/a b", False),
        ("/a#b", False),
        ("/é", False),
    ],
)
def test_the_probe_path_can_stand_in_a_request_line(path, fine):
    assert accepted(f'health_check: {{path: "{path}"}}') is fine


@pytest.mark.parametrize("key", ["logging: {file: ", "adaptive: {record: "])
def test_file_names_have_no_control_characters(key):
    assert accepted(key + "/var/log/aegis.log}")
    assert not accepted(key + '"/var/log/\\0"}')


@pytest.mark.parametrize(
    ("host", "addresses", "own"),
    [
        ("0.0.0.0", ["127.0.0.1"], True),
        ("0.0.0.0", ["127.9.9.9"], True),
        ("0.0.0.0", ["::ffff:127.0.0.1"], True),
        ("0.0.0.0", ["0.0.0.0"], True),
        ("0.0.0.0", ["10.0.0.5", "127.0.0.1"], True),
        ("0.0.0.0", ["::1"], False),
        ("0.0.0.0", ["10.0.0.5"], False),
        ("0.0.0.0", ["10.0.0.9"], True),
        ("::", ["::1"], True),
        ("::", ["127.0.0.1"], True),
        ("::", ["fd00::9"], True),
        ("127.0.0.1", ["127.0.0.1"], True),
        ("127.0.0.1", ["127.0.0.2"], False),
        ("10.0.0.9", ["10.0.0.9"], True),
        ("10.0.0.9", ["127.0.0.1"], False),
        ("LOCALHOST", ["127.0.0.1"], True),
        ("localhost", ["::1"], True),
        ("localhost", ["10.0.0.9"], False),
        ("proxy.internal", ["127.0.0.1"], False),
        ("0.0.0.0", [], False),
    ],
)
def test_a_backend_that_is_our_own_listener_is_found(host, addresses, own):
    local = ["10.0.0.9", "fd00::9"]
    assert is_own_listener(host, 8080, addresses, 8080, local=local) is own
    assert is_own_listener(host, 8080, addresses, 8081, local=local) is False
