"""A record replayed: its own settings give its own decisions, other settings theirs, bad lines are named."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.config.schema import Adaptive
from aegis.events import Events
from aegis.ratelimit.comparison import HEIGHT, plot, summary, table
from aegis.ratelimit.decide import Tick
from aegis.ratelimit.replay import ReplayError, entries_of, replay
from aegis.ratelimit.ticks import AdaptiveLoop

SLOW = Tick(p95_ms=900.0, samples=200, healthy_backends=2)
FAST = Tick(p95_ms=20.0, samples=200, healthy_backends=2)
IDLE = Tick(p95_ms=None, samples=4, healthy_backends=2)

TICKS = st.builds(
    Tick,
    p95_ms=st.none() | st.floats(0, 2000),
    samples=st.integers(0, 60),
    healthy_backends=st.integers(0, 3),
    limiter_refused=st.booleans(),
)
SECTIONS = st.builds(
    Adaptive,
    latency_threshold_ms=st.floats(1, 2000),
    reduction_factor=st.floats(0.05, 0.95),
    recovery_factor=st.floats(1.05, 5),
    min_rate=st.floats(1, 50),
    max_rate=st.floats(100, 1000),
    min_samples=st.integers(0, 30),
    grow=st.sampled_from(["always", "when_limiting"]),
    mode=st.sampled_from(["enforce", "shadow"]),
)
RELOADS = st.tuples(SECTIONS, st.floats(50, 100))


def recorded(*happenings, section=None, configured=100.0):
    """The lines of a loop that saw these ticks and went through these reloads: (section, configured rate)."""
    lines, seen = [], []
    loop = AdaptiveLoop(
        section or Adaptive(), configured, lambda: seen[-1], lambda rate: None, Events(), lines.append, Counter()
    )
    for each in happenings:
        if isinstance(each, Tick):
            seen.append(each)
            loop.tick()
        else:
            loop.reconfigure(*each)
    return lines


def replayed(lines, **changes):
    return list(replay(entries_of(lines), changes))


def rates(steps):
    return [step.state.rate for step in steps]


@given(
    SECTIONS,
    st.lists(st.one_of(TICKS, TICKS, TICKS, RELOADS), max_size=40).filter(
        lambda happenings: any(isinstance(each, Tick) for each in happenings)
    ),
)
def test_a_record_replayed_with_its_own_settings_gives_its_own_decisions(section, happenings):
    for step in replayed(recorded(*happenings, section=section)):
        assert step.state == step.entry.after
        assert (step.decision.action, step.decision.code) == (step.entry.action, step.entry.code)
        assert step.decision.words == step.entry.words


@given(SECTIONS, st.lists(TICKS, min_size=1, max_size=40))
def test_records_of_several_runs_may_be_joined(section, ticks):
    lines = recorded(*ticks, section=section) + recorded(*ticks)
    assert all(step.state == step.entry.after for step in replayed(lines))


def test_other_settings_give_other_rates_and_the_record_stays_beside_them():
    lines = recorded(SLOW, SLOW, SLOW, FAST)
    steps = replayed(lines, reduction_factor=0.5)
    assert rates(steps) == pytest.approx([50, 50, 25, 27.5])
    assert [step.entry.rate_after for step in steps] == pytest.approx([80, 80, 64, 70.4])
    assert rates(replayed(lines, latency_threshold_ms=1000.0)) == pytest.approx([100, 100, 100, 110])


def test_where_the_record_starts_afresh_so_does_the_replay():
    lines = recorded(SLOW, SLOW, SLOW) + recorded(SLOW, IDLE)
    steps = replayed(lines, reduction_factor=0.5)
    assert rates(steps) == [50, 50, 25, 50, 50]
    assert [step.fresh for step in steps] == [False, False, False, True, False]


def test_new_bounds_hold_from_the_first_tick():
    lines = recorded(FAST, FAST, FAST, IDLE)[1:]  # begins at 110
    assert rates(replayed(lines, max_rate=105.0)) == [105, 105, 105]


def test_bounds_that_leave_the_configured_rate_outside_are_refused_with_the_line():
    lines = recorded(FAST, FAST)
    with pytest.raises(ReplayError, match="configured rate 100 is not within min_rate 10 and max_rate 50") as refused:
        replayed(lines, max_rate=50.0)
    assert refused.value.line == 1


def changed(**keys):
    (line,) = recorded(SLOW)
    entry = json.loads(line)
    for name, value in keys.items():
        if value is None:
            del entry[name]
        else:
            entry[name] = value
    return json.dumps(entry).encode()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"", "truncated"),
        (b"p95=900", "malformed"),
        (b"\xff\xfe", "malformed"),
        (b"[1]", "Expected `object`"),
        pytest.param(recorded(SLOW)[0][:60], "truncated", id="cut off"),
        (changed(p95_ms="900"), r"Expected `float \| null`, got `str` - at `\$\.p95_ms`"),
        (changed(p95_ms=-1), "p95_ms"),
        (changed(samples=None), "missing required field `samples`"),
        (changed(samples=1.5), "samples"),
        (changed(action="explode"), "action"),
        (changed(rate_before=0), "rate_before"),
        (changed(time="\x1b[2J"), "time"),
        (changed(settings={"reduction_factor": 2}), r"settings\.reduction_factor"),
        (changed(settings={"no_such_key": 2}), "no_such_key"),
    ],
)
def test_a_line_that_is_no_tick_is_named(line, words):
    lines = [*recorded(SLOW, SLOW), line, *recorded(FAST)]
    with pytest.raises(ReplayError, match=words) as refused:
        entries_of(lines)
    assert refused.value.line == 3


def test_a_record_without_ticks_is_refused():
    with pytest.raises(ReplayError, match="holds no ticks"):
        entries_of([])


# how it is printed


def test_old_and_new_rate_stand_side_by_side_and_differences_are_marked():
    header, names, *rows = table(replayed(recorded(SLOW, IDLE), reduction_factor=0.5))
    assert header.split() == ["recorded", "replayed"]
    assert names.split() == ["time", "p95_ms", "samples", "rate", "code", "rate", "code"]
    assert [row.split()[1:] for row in rows] == [
        ["900", "200", "80", "above_threshold", "50", "above_threshold", "!="],
        ["-", "4", "80", "few_samples", "50", "few_samples", "!="],
    ]
    assert not any("!=" in row for row in table(replayed(recorded(SLOW, IDLE))))


def test_a_fresh_start_is_said():
    rows = list(table(replayed(recorded(SLOW) + recorded(SLOW))))
    assert rows[3] == "-- a start or a reload: both go on from 100 --"


def test_the_summary_counts_both_sides():
    lines = list(summary(replayed(recorded(SLOW, SLOW, SLOW, FAST), reduction_factor=0.5)))
    assert [line.split() for line in lines] == [
        ["recorded", "replayed"],
        ["reductions", "2", "2"],
        ["recoveries", "1", "1"],
        ["lowest", "64", "25"],
        ["highest", "80", "50"],
        ["last", "70.4", "27.5"],
    ]


def test_the_plot_draws_both_rates_between_their_extremes():
    lines = list(plot(replayed(recorded(SLOW, SLOW, SLOW), reduction_factor=0.5), 80))
    assert len(lines) == HEIGHT + 2
    assert lines[0] == "        80 |oo"
    assert lines[HEIGHT - 1] == "        25 |  *"
    assert lines[-1].endswith("o recorded  * replayed  @ both; a column is a tick")


def test_the_plot_of_a_rate_that_never_moved_is_a_line():
    lines = list(plot(replayed(recorded(IDLE, IDLE)), 80))
    assert sum("@@" in line for line in lines[:HEIGHT]) == 1


@given(st.lists(TICKS, min_size=1, max_size=200), st.integers(1, 100))
def test_the_plot_fits_into_the_columns_and_leaves_none_empty(ticks, columns):
    lines = list(plot(replayed(recorded(*ticks), reduction_factor=0.5), columns))[:HEIGHT]
    bodies = [line.partition("|")[2] for line in lines]
    width = max(map(len, bodies))
    assert width <= max(1, columns - 12)
    for column in range(width):
        assert {"o", "*", "@"} & {body[column] for body in bodies if column < len(body)}


def test_a_record_may_say_more_of_the_settings_than_decides():
    (line,) = recorded(SLOW)
    fields = json.loads(line)
    fields["settings"]["evaluation_interval"] = "1m30s"
    (entry,) = entries_of([json.dumps(fields).encode()])
    assert entry.settings.evaluation_interval == 90.0
    assert [step.state.rate for step in replay([entry], {})] == [80.0]
    fields["settings"]["evaluation_interval"] = "soon"
    with pytest.raises(ReplayError, match="not a duration"):
        list(entries_of([json.dumps(fields).encode()]))
