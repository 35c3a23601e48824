"""The panels as pure functions: what stands where, and that nothing ever leaves its size."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wcwidth import wcswidth

from aegis.events import Kind
from aegis.tui.keys import KEYS, table
from aegis.tui.panels.backends import COLUMNS, MARK, backends, plan, window
from aegis.tui.panels.events import events
from aegis.tui.panels.guide import footer, guide
from aegis.tui.panels.header import header
from aegis.tui.panels.limiter import limiter
from aegis.tui.panels.screen import Picture, rows, screen
from aegis.tui.styles import Style
from aegis.tui.text import HIDDEN, Size
from tests.support.snapshots import backend_view, decision, event, snapshot

WIDE = Size(160, 48)
SMALL = Size(80, 24)


def text(line):
    return "".join(span.text for span in line)


def whole(lines):
    return "\n".join(text(line) for line in lines)


def style_of(lines, word):
    return next(span.style for line in lines for span in line if word in span.text)


def picture(view=None, happened=(), **changes):
    return Picture(snapshot() if view is None else view, list(happened), table(), **changes)


# header


def test_header_names_version_stage_listener_uptime_rates_and_status_classes():
    shown = whole(header(snapshot(), SMALL))
    for words in ("Aegis 0.1.0", "SERVING", "READY", "0.0.0.0:8080", "up 1h02m", "1,234 req/s", "7 in flight"):
        assert words in shown
    for words in ("2xx 120k", "3xx 12", "4xx 340", "5xx 2", "499 1", "34 of 10,000 connections"):
        assert words in shown


def test_header_says_what_is_missing_when_it_is_not_ready():
    lines = header(snapshot(ready=False, not_ready="no eligible backend"), SMALL)
    assert "NOT READY: no eligible backend" in whole(lines)
    assert style_of(lines, "NOT READY") is Style.BAD


def test_header_names_the_most_frequent_refusals_and_not_ok():
    shown = whole(header(snapshot(reasons={"ok": 9, "rate_limited": 5, "no_backend": 6, "bad_host": 0}), WIDE))
    assert shown.index("no_backend 6") < shown.index("rate_limited 5")
    assert "ok 9" not in shown
    assert "bad_host" not in shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"logs_dropped": 3}, "LOG LINES DROPPED 3"),
        ({"frames_skipped": 4}, "frames skipped 4"),
        ({"hub_lag": 0.12}, "LOOP LATE 120 ms"),
        ({"reloads": {"applied": 0, "failed": 2}}, "RELOADS FAILED 2"),
        ({"connections": {"accept_queue": 5}}, "5 WAIT FOR ACCEPT"),
        ({"connections": {"open": 10_000}}, "10,000 of 10,000 connections FULL"),
        ({"workers": 4}, "workers 4"),
        ({"aborted": {"client": 0, "backend": 8}}, "aborted by backend 8"),
    ],
)
def test_header_says_what_a_human_should_look_at_only_when_it_is_so(changes, words):
    assert words in whole(header(snapshot(**changes), Size(200, 3)))
    assert words not in whole(header(snapshot(), Size(200, 3)))


def test_header_says_that_it_is_paused():
    assert "PAUSED" in text(header(snapshot(), Size(30, 3), paused=True)[0])


def test_narrow_header_keeps_what_matters_most():
    assert text(header(snapshot(), Size(22, 3))[0]) == "Aegis 0.1.0  SERVING"


# backends


def test_table_names_every_column_of_the_specification():
    lines = backends(snapshot().backends, WIDE)
    titles = text(lines[0])
    for title in ("BACKEND", "STATE", "BREAKER", "WEIGHT", "BUSY", "REQS", "ERRS", "P50", "P95", "P99"):
        assert title in titles
    for words in ("app-1", "UP", "CLOSED", "1×100%", "12345", "1.23", "12.3", "123", "▂▃▄▅▆▇█"):
        assert words in text(lines[1])


@pytest.mark.parametrize(
    ("changes", "word", "style"),
    [
        ({"health": "up"}, "UP", Style.GOOD),
        ({"health": "down"}, "DOWN", Style.BAD),
        ({"health": "unknown"}, "NEW", Style.WATCH),
        ({"breaker": "closed"}, "CLOSED", Style.GOOD),
        ({"breaker": "open", "breaker_opens_in": 12.2}, "OPEN 13s", Style.BAD),
        ({"breaker": "open"}, "OPEN", Style.BAD),
        ({"breaker": "half_open"}, "HALF-OPEN", Style.WATCH),
        ({"share": 0.5, "weight": 4}, "4×50%", Style.WATCH),
        ({"drained": True, "in_flight": 3}, "DRAIN", Style.WATCH),
        ({"drained": True, "in_flight": 0}, "DRAINED", Style.WATCH),
        ({"errors": 7, "requests": 0}, "7", Style.BAD),
    ],
)
def test_states_are_words_too_never_colour_alone(changes, word, style):
    row = backends([backend_view("b", **changes)], SMALL)[1:]
    assert word in text(row[0]).split() or word in text(row[0])
    assert style_of(row, word) is style


def test_all_columns_fit_at_80_with_names_of_14_and_a_trend():
    layout = plan(14, 80)
    assert [column.title for column in layout.columns] == [column.title for column in COLUMNS]
    assert layout.spark == 4


def test_narrow_table_loses_one_column_after_the_other_and_the_name_last():
    seen = []
    for columns in range(120, 0, -1):
        layout = plan(14, columns)
        shown = (*(column.title for column in layout.columns), *(["spark"] if layout.spark else []))
        if not seen or seen[-1] != shown:
            seen.append(shown)
    assert seen[0] == (*(column.title for column in COLUMNS), "spark")
    assert [set(before) - set(after) for before, after in pairwise(seen)] == [
        {"P50"},
        {"P99"},
        {"spark"},
        {"REQS"},
        {"BUSY"},
        {"ERRS"},
        {"P95"},
        {"WEIGHT"},
        {"BREAKER"},
        {"STATE"},
    ]
    assert "app-1" in whole(backends([backend_view("app-1")], Size(8, 3)))


def test_long_names_keep_their_start_and_their_end():
    rows_ = backends([backend_view("10.20.30.40:18081"), backend_view("10.20.30.40:18082")], SMALL)
    assert "18081" in text(rows_[1])
    assert "18082" in text(rows_[2])
    assert "10.2" in text(rows_[1])


def test_selected_row_has_a_mark_and_not_only_a_colour():
    lines = backends(snapshot().backends, SMALL, "app-2")
    assert [MARK in text(line) for line in lines] == [False, False, True, False]


def test_selected_backend_stays_in_sight_among_three_hundred():
    many = [backend_view(f"app-{number}") for number in range(300)]
    for chosen in (0, 1, 150, 298, 299):
        lines = backends(many, Size(80, 9), f"app-{chosen}")
        assert len(lines) == 9
        assert sum(f"{MARK} app-{chosen} " in text(line) for line in lines) == 1
        assert "8 OF 300" in text(lines[0])


@given(st.integers(0, 40), st.integers(0, 400), st.data())
def test_window_shows_as_many_rows_as_there_are_with_the_chosen_one(height, total, data):
    chosen = data.draw(st.integers(0, max(0, total - 1)))
    shown = window(height, total, chosen)
    assert len(shown) == min(height, total)
    assert not height or not total or chosen in shown


def test_sparklines_share_one_scale_so_that_the_slow_backend_stands_out():
    slow = backend_view("slow", latency_history=(800.0,) * 60)
    quick = backend_view("quick", latency_history=(8.0,) * 60)
    lines = backends([slow, quick], WIDE)
    assert "█" in text(lines[1])
    assert "▁" in text(lines[2])
    assert "█" not in text(lines[2])


# limiter


def test_limiter_panel_shows_rate_bounds_counts_and_the_last_decision_with_its_reason():
    shown = whole(limiter(snapshot(), WIDE))
    for words in ("100 req/s", "bounds 10–500", "configured 100", "burst 150", "120,000 allowed", "300 limited"):
        assert words in shown
    for words in ("12 of 65,536 addresses", "hold: 4 of 20 samples", "P95 12.3 of 500 ms", "5s ago"):
        assert words in shown
    assert "CUT" not in shown


def test_limiter_panel_says_that_and_why_the_rate_was_cut():
    reduced = decision(action="reduce", words="reduce: P95 823 ms", rate_before=100.0, rate_after=80.0)
    lines = limiter(snapshot(limiter={"rate": 80.0}, adaptive={"decisions": (reduced,)}), SMALL)
    assert "80 req/s a client  CUT" in text(lines[0])
    assert "reduce: P95 823 ms" in text(lines[2])
    assert "100 → 80" in text(lines[2])
    assert style_of(lines, "CUT") is Style.WATCH


def test_limiter_panel_says_when_the_rate_was_raised():
    assert "RAISED" in whole(limiter(snapshot(limiter={"rate": 110.0}), SMALL))


def test_limiter_panel_in_shadow_mode_says_that_nobody_is_refused():
    shown = whole(limiter(snapshot(limiter={"mode": "shadow", "shadow_limited": 9}), SMALL))
    assert "SHADOW" in shown
    assert "9 would be" in shown


def test_limiter_panel_without_the_adaptive_loop_says_so():
    shown = whole(limiter(snapshot(adaptive={"enabled": False, "decisions": ()}), SMALL))
    assert "the adaptive loop is off" in shown
    assert "bounds" not in shown


def test_limiter_panel_before_the_first_decision():
    assert "no decision yet" in whole(limiter(snapshot(adaptive={"decisions": (), "p95_ms": None}), SMALL))


# events


def test_newest_events_are_at_the_bottom_and_the_oldest_give_way():
    lines = events([event(number, f"thing {number}") for number in range(1, 30)], Size(80, 6))
    assert [text(line).split()[-1] for line in lines[1:]] == ["25", "26", "27", "28", "29"]


def test_event_says_its_level_and_the_fields_that_its_words_do_not():
    line = events([event(1, "app-1 is down", level="WARNING", fields={"backend": "app-1", "error": "refused"})], SMALL)
    assert "WARN  app-1 is down  error=refused" in text(line[1])
    assert "backend=" not in text(line[1])
    assert style_of(line, "app-1 is down") is Style.WATCH


@pytest.mark.parametrize(
    "bad", ["\x1b[2J", "\r\n", "\x07", "\x9b31m", "\u202e", "\x00", "\u200b", "\ud800", "\x7f", "\U000e0041"]
)
def test_control_characters_in_a_message_are_neutralised(bad):
    line = events([event(1, f"before{bad}after", fields={"f": f"x{bad}y"})], SMALL)[1]
    assert text(line).isprintable()
    assert "before" in text(line)
    assert HIDDEN in text(line)
    assert bad not in text(line)


def test_control_characters_in_a_backend_name_and_a_not_ready_are_neutralised():
    shown = screen(picture(snapshot([backend_view("a\x1b[31mb")], ready=False, not_ready="\x1b]0;x\x07")), SMALL)
    assert "\x1b" not in whole(shown)
    assert "\x07" not in whole(shown)


# help and footer


def test_help_and_footer_follow_from_the_key_table():
    shown = whole(guide(KEYS, SMALL))
    for key in KEYS:
        assert key.text in shown
    assert text(footer(KEYS, "", 80)) == "q quit  p pause  d drain/resume  ? help  ↑↓ select"


def test_footer_shows_a_question_instead_of_the_keys():
    line = footer(KEYS, " Drain app-1? ", 80, asking=True)
    assert text(line) == " Drain app-1? "
    assert line[0].style is Style.ASK


# the whole screen


@pytest.mark.parametrize("size", [SMALL, WIDE, Size(200, 100)])
def test_screen_has_every_panel(size):
    shown = whole(screen(picture(happened=[event()]), size))
    for words in ("Aegis 0.1.0", "BACKEND", "app-3", "LIMIT", "EVENTS", "backend app-1 is up", "q quit"):
        assert words in shown


def test_screen_without_a_snapshot_says_what_it_waits_for():
    shown = whole(screen(Picture(None, (), table(remote=True), waiting="for Aegis at 127.0.0.1:9090"), SMALL))
    assert "WAITING" in shown
    assert "for Aegis at 127.0.0.1:9090" in shown
    assert "q leave" in shown


names = st.text(min_size=1, max_size=40)
pictures = st.builds(
    lambda names, messages, changes, flags: picture(
        snapshot([backend_view(name, **changes) for name in names], not_ready="\x1b[2J広い", ready=False),
        [event(number, message, fields={"k": message}) for number, message in enumerate(messages, 1)],
        chosen=names[0] if names else None,
        **flags,
    ),
    st.lists(names, max_size=40),
    st.lists(st.text(max_size=300), max_size=60),
    st.fixed_dictionaries(
        {
            "requests": st.integers(0, 10**15),
            "errors": st.integers(0, 10**15),
            "in_flight": st.integers(0, 10**9),
            "weight": st.integers(0, 10**6),
            "share": st.sampled_from([0.25, 0.5, 0.75, 1.0]),
            "health": st.sampled_from(["up", "down", "unknown"]),
            "breaker": st.sampled_from(["closed", "open", "half_open"]),
            "breaker_opens_in": st.none() | st.floats(0, 1e6),
            "p95_ms": st.none() | st.floats(0, 1e9),
            "latency_history": st.lists(st.floats(0, 1e9), max_size=60).map(tuple),
        }
    ),
    st.fixed_dictionaries(
        {
            "paused": st.booleans(),
            "help": st.booleans(),
            "note": st.text(max_size=200),
        }
    ),
)


@settings(deadline=None, max_examples=200)
@given(pictures, st.integers(1, 300), st.integers(1, 120))
def test_no_line_is_wider_and_never_more_lines_than_the_size(shown, columns, rows_):
    lines = screen(shown, Size(columns, rows_))
    assert len(lines) == rows_
    for line in lines:
        assert text(line).isprintable()
        assert 0 <= wcswidth(text(line)) <= columns


@given(st.integers(0, 200), st.integers(0, 400))
def test_rows_are_never_more_than_there_are(total, number):
    share = rows(total, number)
    parts = share[:5]
    assert all(part >= 0 for part in parts)
    assert sum(parts) + (3 if share.air else 0) <= total


def test_smallest_screens_keep_the_first_line_the_backends_and_the_keys():
    shown = whole(screen(picture(), Size(40, 6)))
    assert "Aegis 0.1.0" in shown
    assert "app-1" in shown
    assert "q quit" in shown


def test_debug_events_are_not_shown():
    lines = events([event(1, "seen"), event(2, "unseen", level="DEBUG"), event(3, "seen too")], SMALL)
    assert [text(line).split()[-1] for line in lines[1:]] == ["seen", "too"]


def test_fields_of_which_the_words_say_all_are_not_shown():
    lines = events([event(1, "adaptive loop: hold", kind=Kind.ADAPTIVE, fields={"p95_ms": 12.3})], SMALL)
    assert "p95_ms" not in text(lines[1])
