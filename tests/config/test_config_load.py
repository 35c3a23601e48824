from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.duration import Duration
from aegis.config.load import ConfigErrors, from_backends, load_file, load_text, with_networks
from aegis.config.schema import Config
from aegis.config.tree import MOST_VALUES

DATA = Path(__file__).parent.parent / "data"
BACKENDS = "backends: [{url: 'http://a:1', weight: 1}]\n"


def errors_of(text, environ=None):
    with pytest.raises(ConfigErrors) as caught:
        load_text(text, "f.yml", environ or {})
    return caught.value.errors


def only_error(text, environ=None):
    (error,) = errors_of(text, environ)
    return error


def test_every_default_of_the_specification_holds_for_a_file_that_names_backends_only():
    config = load_text(BACKENDS, "f.yml", {})
    assert config == Config(backends=config.backends)
    assert (config.server.host, config.server.port, config.server.workers) == ("0.0.0.0", 8080, 1)
    assert (config.server.read_timeout, config.server.idle_timeout, config.server.shutdown_delay) == (5, 120, 0)
    assert (config.server.max_header_bytes, config.server.max_body_bytes) == (8192, 10485760)
    assert config.transport.stream_idle_timeout == 600
    assert (config.rate_limit.requests_per_second, config.rate_limit.burst) == (100, 150)
    assert config.admin.listen == config.admin.health_listen == ""
    assert config.development.allow_loopback_backends is False


def test_a_valid_file_is_read_whole():
    config = load_file(str(DATA / "valid.yml"), {"POOL": "blue"})
    assert config.server.host == "::"
    assert config.server.port == 8443
    assert config.server.workers == "auto"
    assert isinstance(config.server.read_timeout, Duration)
    assert config.server.read_timeout == 90
    first, spare = config.backends
    assert (first.scheme, first.host, first.port, first.name) == ("http", "blue.internal", 8081, "blue.internal:8081")
    assert (spare.scheme, spare.host, spare.port, spare.name) == ("https", "2001:4860::8", 443, "v6[spare]")
    assert spare.weight == 0
    assert config.adaptive.enabled is False
    assert config.adaptive.record == "/var/log/${name}.jsonl"
    assert [str(network) for network in config.security.backend_networks] == ["10.0.0.0/8", "fd00::/8"]
    assert [str(network) for network in config.security.proxy_networks] == ["192.0.2.1/32"]


def test_all_errors_of_a_file_are_reported_at_once_each_with_file_line_path_and_value():
    path = str(DATA / "invalid.yml")
    with pytest.raises(ConfigErrors) as caught:
        load_file(path, {})
    found = [(error.line, error.path, error.value) for error in caught.value.errors]
    assert found == [
        (2, "server.prot", None),
        (3, "server.port", "65536"),
        (4, "server.read_timeout", "5"),
        (5, "server.workers", "many"),
        (6, "server.allowed_methods[1]", "TRACE"),
        (7, "server.allowed_hosts[0]", "example.com:80"),
        (8, "server.max_connections", "${UNSET}"),
        (11, "backends[1].url", "http://a:1/"),
        (12, "backends[2].url", "http://b:1/path"),
        (13, "backends[3].weight", None),
        (17, "health_check.timeout", None),
        (18, "retry", "3"),
        (20, "rate_limit.requests_per_second", "501"),
        (21, "rate_limit.mode", None),
        (23, "adaptive.recovery_factor", "1"),
        (25, "security.trusted_proxies[0]", "10.0.0.1/8"),
        (27, "admin.listen", "0.0.0.0:9090"),
        (28, "loging", None),
    ]
    lines = str(caught.value).splitlines()
    assert len(lines) == len(found)
    assert lines[1] == f"{path}:3: server.port = 65536: must be a whole number from 1 to 65535"
    assert lines[-1] == f"{path}:28: loging: unknown key; did you mean logging?"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (BACKENDS + "server:\n  prot: 1", 3, "did you mean port?"),
        (BACKENDS + "port: 1", 2, "did you mean server.port?"),
        (BACKENDS + "server: {burst: 1}", 2, "did you mean rate_limit.burst?"),
        (BACKENDS + "tui: {zzz: 1}", 2, "known here: refresh_interval, enabled"),
        (BACKENDS + "<<: {}", 2, "unknown key"),
        (BACKENDS + "[a]: 1", 2, "unknown key"),
        (BACKENDS + "tui: {}\nserver: {}\ntui: {}", 4, "is there twice, first on line 2; remove one"),
        (BACKENDS + "server: {tls: {}}", 2, "unknown key"),
    ],
)
def test_unknown_and_duplicate_keys_are_errors_with_did_you_mean(text, line, message):
    error = only_error(text)
    assert error.line == line
    assert message in error.message


@pytest.mark.parametrize(
    ("text", "line", "quoted"),
    [
        (BACKENDS + "server:\n  allowed_hosts:\n    - *", 4, '"*"'),
        (BACKENDS + "server: {allowed_hosts: [*.example.com, b]}", 2, '"*.example.com"'),
        (BACKENDS + "server:\n  host: *any", 3, '"*any"'),
        (BACKENDS + "admin:\n  listen: [::1]:80\ntui: {}", 3, '"[::1]:80"'),
        ("backends:\n  - {url: http://[::1]:80, weight: 1}", 2, '"http://[::1]:80"'),
        (BACKENDS + "server: {port: ${PORT}}", 2, '"${PORT}"'),
        (BACKENDS + "server: {allowed_hosts: [${A}, b]}", 2, '"${A}"'),
        (BACKENDS + "logging: {file: @x}", 2, '"@x"'),
        (BACKENDS + "server: {host: ::}", 2, '"::"'),
        (BACKENDS + "server: {host: ::1, port: 1}", 2, '"::1"'),
        (BACKENDS + "logging:\n  file: `x`", 3, '"`x`"'),
    ],
)
def test_what_yaml_reads_otherwise_gets_a_put_quotes_around_it(text, line, quoted):
    error = only_error(text)
    assert error.line == line
    assert error.message.endswith(f"put quotes around it: {quoted}")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("server:\n\tport: 1\n", 2, "indent with spaces, not tabs"),
        ("server: x\n  port: 1\n", 2, "check the indentation"),
        ("backends: [1,\n", 1, "is not valid YAML"),
        ("a: 1\n--- \nb: 1\n", 2, "is not valid YAML"),
        ("a: 1\nb: \x01\n", 2, "a character that YAML does not allow"),
        ("a: \ud800", 1, "a character that YAML does not allow"),
        ("[" * 5000, 1, "is not valid YAML"),
        ("- " * 5000 + "x", 1, "is not valid YAML"),
        ("- a\n- b\n", 1, "the top level must be a mapping"),
        ("backends", 1, "the top level must be a mapping"),
        ("", 0, "is empty"),
        ("# nothing\n", 0, "is empty"),
        ("---\n~\n", 0, "is empty"),
    ],
)
def test_a_text_that_is_no_configuration_says_what_is_wrong(text, line, message):
    error = only_error(text)
    assert error.line == line
    assert message in error.message


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("server: {port: }", "must be a whole number from 1 to 65535; give it a value or remove the key"),
        ("server: {port: ~}", "give it a value or remove the key"),
        ("server: {port: 1.0}", "must be a whole number"),
        ("server: {port: 010}", "must be a whole number"),
        ("server: {port: 0x10}", "must be a whole number"),
        ("server: {port: 1:30}", "must be a whole number"),
        ("server: {port: 8_080}", "must be a whole number"),
        ("server: {port: [1]}", "must be a whole number from 1 to 65535, not a list"),
        ("server: {port: {a: 1}}", "not a mapping"),
        ("server: {allowed_hosts: a}", "must be a list"),
        ("server: {allowed_hosts: }", "must be a list"),
        ("server: {allowed_hosts: [[a]]}", "must be text, not a list"),
        ("server: [a]", "must be a mapping with the keys host, port"),
        ("server: {port: !mine 1}", "must not have a tag; remove !mine"),
        ("server: {host: !!python/name:os.system x}", "must not have a tag; remove !!python/name:os.system"),
        ("adaptive: {enabled: 1}", "must be true or false"),
        ("adaptive: {min_rate: .nan}", "must be a number above 0"),
        ("adaptive: {min_rate: 1e999}", "must be a number above 0"),
        ("logging: {level: warning}", "must be one of debug, error, info, warn"),
        ("server: {read_timeout: 5}", "must be a duration above 0"),
    ],
)
def test_a_value_of_the_wrong_kind_says_what_would_be_right(value, message):
    error = only_error(BACKENDS + value)
    assert error.line == 2
    assert message in error.message


def test_a_section_whose_keys_are_all_commented_out_is_all_default():
    assert load_text(BACKENDS + "server:\n  # port: 1\n", "f", {}) == load_text(BACKENDS, "f", {})


@pytest.mark.parametrize("spelling", ["true", "True", "yes", "on", "ON"])
def test_booleans_may_be_spelled_as_yaml_spells_them(spelling):
    assert load_text(f"{BACKENDS}admin: {{allow_remote: {spelling}}}", "f", {}).admin.allow_remote is True


@pytest.mark.parametrize(
    "text", ["server: {}", "backends: ~", "backends:\nserver: {}", "backends: []", "backends: x", "backends: {}"]
)
def test_backends_are_required_and_at_least_one(text):
    error = only_error(text)
    assert error.path == "backends"
    assert "list" in error.message


def test_an_entry_that_is_no_mapping_does_not_shift_the_others():
    first, second = errors_of("backends:\n- x\n-\n- {url: 'http://a', weight: 2000}")[0:3:2]
    assert (first.path, first.line) == ("backends[0]", 2)
    assert (second.path, second.line, second.value) == ("backends[2].weight", 4, "2000")


def test_aliases_may_be_used():
    assert (
        load_text(BACKENDS + "server: {host: &h localhost}\nlogging: {file: *h}", "f", {}).logging.file == "localhost"
    )
    assert "is the same as backends[0]" in only_error("backends: [&a {url: 'http://a', weight: 1}, *a]").message


def test_yaml_aliases_are_bounded():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert {error.message.partition(";")[0] for error in errors_of(BACKENDS + "\n".join(lines))} == {"unknown key"}
    entry = "{url: 'http://a', weight: 1, " + ", ".join(f"k{n}: 1" for n in range(100)) + "}"
    text = f"backends: [&a {entry}, {', '.join(['*a'] * 1000)}]"
    messages = [error.message for error in errors_of(text)]
    assert sum("nested aliases" in message for message in messages) == 1
    assert len(messages) < MOST_VALUES + 1000
    assert "x" in errors_of("backends: &a [*a, x]")[-1].value


def test_a_password_in_a_refused_url_is_not_shown():
    error = only_error("backends: [{url: 'http://me:secret@a:1', weight: 1}]")
    assert "secret" not in str(error)
    assert "***@a:1" in str(error)


def test_a_long_or_unprintable_value_is_shown_short_and_on_one_line():
    assert len(str(only_error(BACKENDS + f"logging: {{level: {'x' * 5000}}}"))) < 300
    shown = str(only_error(BACKENDS + r'logging: {level: "\e[31m\n"}'))
    assert shown.isprintable()
    assert shown.count("\n") == 0


def test_a_file_that_is_missing_or_unreadable_says_so(tmp_path):
    (tmp_path / "latin.yml").write_bytes(b"backends:\n# f\xfcr\n")
    (tmp_path / "large.yml").write_bytes(b"#" * (1024 * 1024 + 1))
    (tmp_path / "bom.yml").write_bytes(b"\xef\xbb\xbf" + BACKENDS.encode())
    (tmp_path / "empty.yml").write_bytes(b"")
    for name, line, message in [
        ("none.yml", 0, "no such file; name one with --config"),
        ("", 0, "cannot be read: Is a directory"),
        ("latin.yml", 2, "is not UTF-8"),
        ("large.yml", 0, "larger than 1 MiB"),
        ("empty.yml", 0, "is empty"),
        ("\0", 0, "cannot be read"),
    ]:
        with pytest.raises(ConfigErrors) as caught:
            load_file(str(tmp_path / name) if name else str(tmp_path), {})
        (error,) = caught.value.errors
        assert error.line == line
        assert message in error.message
    assert load_file(str(tmp_path / "bom.yml"), {}).backends[0].port == 1


@pytest.mark.parametrize(
    ("spec", "url", "weight"),
    [
        ("http://a:1", "http://a:1", 1),
        ("http://a:1@3", "http://a:1", 3),
        ("http://a@0", "http://a", 0),
        ("https://[::1]:8443@1000", "https://[::1]:8443", 1000),
    ],
)
def test_weight_of_a_backend_option_is_the_digits_after_the_last_at_sign(spec, url, weight):
    config = from_backends([spec, "http://other"])
    assert (config.backends[0].url, config.backends[0].weight) == (url, weight)
    assert config == Config(backends=config.backends)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        (["http://a@b:1"], "--backend: http://***@b:1: must not carry a user name"),
        (["http://a@1001"], "the weight after the last @ must be a whole number from 0 to 1000"),
        (["a:1"], "--backend: a:1: needs a scheme: write http://a:1"),
        (["http://a", "http://a/"], "is the same as"),
        (["http://a@0"], "at least one weight must be above 0"),
        ([], "must list at least one"),
    ],
)
def test_a_backend_option_at_fault_says_what_would_be_right(specs, message):
    with pytest.raises(ConfigErrors) as caught:
        from_backends(specs)
    assert message in str(caught.value)


def test_networks_can_be_opened_on_a_finished_configuration():
    config = with_networks(from_backends(["http://a"]), ["127.0.0.1/32"])
    assert [str(network) for network in config.security.backend_networks] == ["127.0.0.1/32"]
    assert from_backends(["http://a"]).security.allowed_backend_networks == ()


PIECES = "server:|backends:|url|weight|: |- |\n|  |[|]|{|}|,|&a |*a|<<|${A}|$|!!int |'|\"|http://a|1|~|#|>|\t|port|?|---|\0|é|\\n"
FRAGMENTS = st.sampled_from(PIECES.split("|"))


@settings(deadline=None, max_examples=300)
@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=40).map("".join)), st.booleans())
def test_any_text_gives_a_config_or_config_errors(text, after_backends):
    errors = []
    try:
        load_text(BACKENDS + text if after_backends else text, "f.yml", {"A": "x"})
    except ConfigErrors as caught:
        errors = caught.errors
        shown = str(caught).split("\n")
        assert len(shown) == len(errors) > 0
    assert all(error.message and str(error).isprintable() for error in errors)


@settings(deadline=None)
@given(st.binary())
def test_any_file_gives_a_config_or_config_errors(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "f.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigErrors):
        load_file(str(path), {})
