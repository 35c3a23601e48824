import json
from pathlib import Path

import jsonschema
import msgspec
import pytest
import yaml

from aegis.config.diff import compare
from aegis.config.keys import all_keys
from aegis.config.load import load_file, load_text
from aegis.config.reference import BEGIN, END, dump, json_schema, markdown_table, with_reference
from aegis.config.schema import Config

ROOT = Path(__file__).parent.parent.parent
BACKENDS = "backends: [{url: 'http://a:1', weight: 1}]\n"
SHIPPED = ["aegis.yml", "conf/aegis.yml", "tests/data/valid.yml"]


def restart_keys():
    return tuple(path for path, key in all_keys() if key.restart)


def config(text=""):
    return load_text(BACKENDS + text, "f.yml", {})


def validator():
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_restart_keys_are_those_of_the_specification():
    assert restart_keys() == (
        "server.host",
        "server.port",
        "server.workers",
        "server.steering",
        "rate_limit.ipv6_prefix",
        "admin.listen",
        "admin.allow_remote",
        "admin.health_listen",
        "tui.enabled",
    )


def test_every_key_has_a_one_line_meaning_and_a_row_in_the_reference():
    rows = markdown_table().splitlines()[2:]
    keys = list(all_keys())
    assert len(rows) == len(keys)
    for row, (path, key) in zip(rows, keys, strict=True):
        assert row.startswith(f"| `{path}` | ")
        assert row.endswith(f" | {'restart' if key.restart else 'live'} |")
        assert key.text
        assert "\n" not in key.text


def test_the_reference_in_the_readme_is_current():
    text = (ROOT / "README.md").read_text()
    assert with_reference(text) == text


def test_the_reference_is_put_between_its_markers_only():
    text = f"before {BEGIN} old {END} after"
    once = with_reference(text)
    assert once.startswith(f"before {BEGIN}\n| Key |")
    assert once.endswith(f"|\n{END} after")
    assert with_reference(once) == once
    with pytest.raises(ValueError):
        with_reference("no markers")


def test_the_shipped_json_schema_is_current():
    assert json.loads((ROOT / "conf/aegis.schema.json").read_text()) == json_schema()


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_files_load_fit_the_schema_and_name_it_in_their_first_line(name):
    path = ROOT / name
    load_file(str(path), {})
    validator().validate(yaml.safe_load(path.read_text()))
    marker, _, schema = path.read_text().partition("\n")[0].partition("$schema=")
    assert marker == "# yaml-language-server: "
    assert (path.parent / schema).resolve() == ROOT / "conf/aegis.schema.json"


def test_shipped_files_are_what_they_say():
    local = load_file(str(ROOT / "aegis.yml"), {})
    assert [(backend.url, backend.weight) for backend in local.backends] == [
        ("http://localhost:8081", 1),
        ("http://localhost:8082", 1),
        ("http://localhost:8083", 2),
    ]
    assert local.development.allow_loopback_backends is True
    server = load_file(str(ROOT / "conf/aegis.yml"), {})
    assert server.admin.listen == "127.0.0.1:9090"
    assert server.development.allow_loopback_backends is False


def test_aegis_yml_states_the_defaults_but_for_its_backends_and_the_loopback_switch():
    local = load_file(str(ROOT / "aegis.yml"), {})
    defaults = Config(backends=local.backends)
    live, restart = compare(defaults, local)
    assert [change.path for change in live] == ["development.allow_loopback_backends"]
    assert restart == ()


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"backends": []},
        {"backends": [{"url": "http://a"}]},
        {"backends": [{"url": "http://a", "weight": 1}], "server": {"port": 0}},
        {"backends": [{"url": "http://a", "weight": 1}], "server": {"prot": 1}},
        {"backends": [{"url": "http://a", "weight": 1}], "server": {"read_timeout": "5"}},
        {"backends": [{"url": "http://a", "weight": 1}], "logging": {"level": "loud"}},
        {"backends": [{"url": "http://a", "weight": 1}], "adaptive": {"reduction_factor": 1}},
        {"backends": [{"url": "http://a", "weight": 1}], "tls": {}},
    ],
)
def test_the_json_schema_refuses_what_loading_refuses(document):
    assert not validator().is_valid(document)


def test_the_json_schema_carries_defaults_and_meanings():
    server = json_schema()["properties"]["server"]["properties"]
    assert server["read_timeout"]["default"] == "5s"
    assert server["port"]["default"] == 8080
    assert server["port"]["description"] == "Port to listen on. Needs a restart."


@pytest.mark.parametrize("name", SHIPPED)
def test_the_effective_config_is_printed_as_a_file_that_loads_to_the_same(name):
    loaded = load_file(str(ROOT / name), {})
    assert load_text(dump(loaded), "dump", {}) == loaded
    assert set(yaml.safe_load(dump(loaded))) == set(Config.__struct_fields__)


def test_a_change_is_live_or_needs_a_restart():
    old = config("rate_limit: {burst: 10}")
    new = config("server: {port: 9000, read_timeout: 6s, allowed_hosts: [a]}\nadmin: {allow_remote: true}")
    live, restart = compare(old, new)
    assert [str(change) for change in live] == [
        "server.read_timeout: 5s → 6s",
        "server.allowed_hosts: [] → ['a']",
        "rate_limit.burst: 10 → 150",
    ]
    assert [str(change) for change in restart] == ["server.port: 8080 → 9000", "admin.allow_remote: false → true"]
    assert compare(old, old) == ((), ())


def test_backends_are_compared_by_name_so_that_their_order_does_not_matter():
    old = load_text(
        "backends: [{url: http://a, weight: 1}, {url: http://b, weight: 1}, {url: http://c, weight: 1}]", "f", {}
    )
    new = load_text(
        "backends: [{url: http://d, weight: 3}, {url: http://b, weight: 2}, {url: http://a, weight: 1}]", "f", {}
    )
    live, restart = compare(old, new)
    assert [str(change) for change in live] == [
        "backends[b:80].weight: 1 → 2",
        "backends[c:80]: removed (http://c, weight 1)",
        "backends[d:80]: added (http://d, weight 3)",
    ]
    assert restart == ()


def test_every_restart_key_needs_one():
    base = config()
    others = {bool: lambda value: not value, int: lambda value: value + 1, str: lambda value: value + "x"}
    for path in restart_keys():
        section, _, name = path.partition(".")
        old = getattr(base, section)
        value = getattr(old, name)
        changed = msgspec.structs.replace(old, **{name: others[type(value)](value)})
        live, restart = compare(base, msgspec.structs.replace(base, **{section: changed}))
        assert [change.path for change in restart] == [path]
        assert live == ()
