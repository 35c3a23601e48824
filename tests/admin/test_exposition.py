"""What Prometheus reads: the contract of names and labels, both formats, and what a linter would say."""

from __future__ import annotations

import os
import re
from functools import partial
from math import inf

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from aegis.admin import exposition
from aegis.reasons import Reason
from tests.admin.exposed import BUCKETS, CONTRACT, OPENMETRICS, parsed, value
from tests.service.observed import Watched

STATES = ("closed", "open", "half_open")
BASE_UNITS = ("seconds", "bytes", "ratio")
OTHER_UNITS = re.compile(r"_(ms|milliseconds|microseconds|minutes|hours|kilobytes|megabytes|percent|kb|mb)(_|$)")


@pytest.fixture
def watched():
    watched = Watched()
    watched.ended()
    watched.ended(status=405, method="BREW", reason=Reason.METHOD_NOT_ALLOWED)
    watched.state("a").window.record(30.0, watched.clock())
    watched.state("a").probes[True] += 2
    watched.state("b").probes[False] += 1
    watched.parts.limiter.take("192.0.2.1")
    watched.parts.counters.decisions["hold", "few_samples"] += 3
    watched.parts.adaptive.p95_ms = 250.0
    return watched


def scrape(watched, accept=OPENMETRICS, pause=lambda: None):
    parts = watched.parts
    return exposition.expose(watched.observer.collect(), parts.counters, parts.backends.states, accept, pause)


@pytest.fixture
def families(watched):
    return parsed(scrape(watched)[1])


# the contract


def test_the_names_are_exactly_those_of_the_contract(families):
    assert {name for name in families if not name.startswith("process_")} == set(CONTRACT)


@pytest.mark.parametrize("name", CONTRACT)
def test_a_metric_has_exactly_the_labels_of_the_contract(families, name):
    samples = families[name].samples
    assert samples
    assert {frozenset(sample.labels.keys() - {"le"}) for sample in samples} == {frozenset(CONTRACT[name])}


def test_the_process_is_described_too(families):
    assert families.keys() >= {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"}
    assert [sample.labels for sample in families["process_open_fds"].samples] == [{}]


def test_each_of_several_processes_is_described_under_its_name_and_one_that_has_gone_is_left_out(watched):
    processes = {"supervisor": os.getppid(), "control": os.getpid(), "worker-0": 2**30}
    watched.observer.amend = partial(msgspec.structs.replace, processes=processes)
    families = parsed(scrape(watched)[1])
    for name in ("process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds"):
        assert [sample.labels for sample in families[name].samples] == [
            {"process": "supervisor"}, {"process": "control"},
        ]  # fmt: skip


@pytest.mark.parametrize("name", ["aegis_request_duration_seconds", "aegis_backend_response_seconds"])
def test_histograms_have_the_buckets_of_the_contract(families, name):
    found = {float(sample.labels["le"]) for sample in families[name].samples if "le" in sample.labels}
    assert found == {float(bound) for bound in BUCKETS} | {inf}


# values


def test_requests_carry_code_method_and_reason(families):
    assert value(families, "aegis_requests_total", code="200", method="GET", reason="ok") == 1
    assert value(families, "aegis_requests_total", code="405", method="other", reason="method_not_allowed") == 1


def test_a_histogram_is_cumulative_and_has_its_sum(families):
    samples = {
        sample.name.removeprefix("aegis_backend_response_seconds") + sample.labels.get("le", ""): sample.value
        for sample in families["aegis_backend_response_seconds"].samples
        if sample.labels["backend"] == "a"
    }
    assert (samples["_bucket0.025"], samples["_bucket0.05"], samples["_bucket10.0"]) == (0, 1, 1)
    assert (samples["_bucket+Inf"], samples["_count"], samples["_sum"]) == (1, 1, 0.03)


def test_values_come_from_the_parts(watched, families):
    assert value(families, "aegis_health_checks_total", backend="a", result="pass") == 2
    assert value(families, "aegis_health_checks_total", backend="b", result="fail") == 1
    assert value(families, "aegis_ratelimit_requests_total", decision="allowed") == 1
    assert value(families, "aegis_ratelimit_rate") == 100
    assert value(families, "aegis_ratelimit_tracked") == 1
    assert value(families, "aegis_adaptive_decisions_total", action="hold", reason="few_samples") == 3
    assert value(families, "aegis_adaptive_p95_seconds") == 0.25
    assert value(families, "aegis_build_info", version=watched.observer.collect().version) == 1


def test_a_breaker_is_in_one_state_and_its_transitions_are_counted(watched):
    for _ in range(5):
        watched.state("b").breaker.settle(0, succeeded=False)
    families = parsed(scrape(watched)[1])
    states = {state: value(families, "aegis_breaker_state", backend="b", state=state) for state in STATES}
    assert states == {"closed": 0, "open": 1, "half_open": 0}
    assert value(families, "aegis_breaker_transitions_total", backend="b", to="open") == 1
    assert value(families, "aegis_backend_eligible", backend="b") == 0


def test_without_a_sample_the_loops_p95_is_absent_and_not_zero(watched):
    watched.parts.adaptive.p95_ms = None
    assert parsed(scrape(watched)[1])["aegis_adaptive_p95_seconds"].samples == []


# formats


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", "text/plain; version=0.0.4; charset=utf-8"),
        (
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ],
)
def test_the_format_is_the_one_that_the_client_prefers(watched, accept, content_type):
    got, text = scrape(watched, accept)
    assert got.startswith(content_type)
    assert text.endswith(b"# EOF\n") is content_type.startswith("application/openmetrics")
    assert text.count(b"# EOF") == content_type.startswith("application/openmetrics")


def test_both_formats_say_the_same(watched):
    plain = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_plain(scrape(watched, "")[1].decode())
        for sample in family.samples
        if sample.name.startswith("aegis_")
    }
    strict = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parsed(scrape(watched)[1]).values()
        for sample in family.samples
        if sample.name.startswith("aegis_")
    }
    assert plain == strict


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
def test_many_backends_are_written_in_slices_and_every_family_is_whole(accept):
    entries = "".join(f'  - {{url: "http://10.0.1.{number}:80", weight: 1}}\n' for number in range(1, 101))
    pauses = []
    _, text = scrape(Watched("backends:\n" + entries), accept, lambda: pauses.append(1))
    assert len(pauses) >= 10
    heads = re.findall(rb"^# (?:HELP|TYPE|UNIT) \S+", text, re.MULTILINE)
    assert len(heads) == len(set(heads))
    assert len(re.findall(rb"^aegis_backend_response_seconds_count\{", text, re.MULTILINE)) == 100
    names = [line.split(b"{")[0].split(b" ")[0] for line in text.splitlines() if line.startswith(b"aegis_backend_up")]
    assert len(names) == 100
    if accept:
        assert parsed(text)  # the strict parser refuses a family that comes twice


# what a linter would say


def test_every_metric_has_help_type_and_the_unit_of_its_name(watched):
    for family in parsed(scrape(watched)[1]).values():
        assert family.documentation.endswith("."), family.name
        assert family.type != "unknown", family.name
        unit = next((unit for unit in BASE_UNITS if family.name.endswith(f"_{unit}")), "")
        assert family.unit == unit, family.name


def test_names_are_those_that_a_linter_lets_pass(families):
    for name, family in families.items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", name)
        assert (family.type == "counter") is name.endswith("_total"), name
        assert not OTHER_UNITS.search(name), name
        assert not name.endswith(("_count", "_sum", "_bucket")), name
        for sample in family.samples:
            assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) for label in sample.labels), name
            assert "le" not in sample.labels or family.type == "histogram", name


def test_no_series_comes_twice(families):
    for family in families.values():
        series = [(sample.name, *sorted(sample.labels.items())) for sample in family.samples]
        assert len(series) == len(set(series)), family.name


def test_no_label_holds_an_address_or_a_path():
    names = {label for labels in CONTRACT.values() for label in labels}
    assert names == {
        "code",
        "method",
        "reason",
        "backend",
        "side",
        "result",
        "state",
        "to",
        "decision",
        "action",
        "version",
    }
