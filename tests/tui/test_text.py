"""Text measured in cells, and numbers in few of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wcwidth import wcswidth

from aegis.tui.figures import count, duration, milliseconds, rate, spark
from aegis.tui.text import HIDDEN, Span, cell, cells, clean, cut, cut_middle, fit, flow, part, width


@given(st.text())
def test_clean_text_is_printable_and_its_width_is_the_sum_of_its_characters(text):
    cleaned = clean(text)
    assert cleaned.isprintable()
    assert cells(cleaned) == wcswidth(cleaned)
    assert clean(cleaned) == cleaned


@given(st.text(), st.integers(0, 60))
def test_cut_text_is_no_wider_than_its_room(text, room):
    for short in (cut(clean(text), room), cut_middle(clean(text), room)):
        assert cells(short) <= room


@given(st.text(), st.integers(0, 60), st.sampled_from(["left", "right"]))
def test_cell_fills_its_room_exactly(text, room, align):
    assert cells(cell(text, room, align)) == room


def test_wide_characters_take_two_cells():
    assert cells("広い") == 4
    assert cut("広い空", 5) == "広い…"
    assert cut("広い空", 4) == "広…"
    assert cell("広い空", 4) == "広… "


def test_combined_characters_are_one_where_there_is_one():
    assert clean("e\u0301") == "é"
    assert clean("x\u0301") == f"x{HIDDEN}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [("🇦🇦", HIDDEN * 2), ("👍🏽", f"👍{HIDDEN}"), ("👩\u200d🚒", f"👩{HIDDEN}🚒")],
)
def test_characters_that_join_with_a_neighbour_are_hidden_as_their_width_is_not_certain(text, shown):
    assert clean(text) == shown


def test_parts_with_the_highest_rank_go_first():
    parts = [part(0, "aaa"), part(2, "bbb"), part(1, "ccc")]
    assert flow(parts, 13) == (Span("aaa"), Span("  "), Span("bbb"), Span("  "), Span("ccc"))
    assert flow(parts, 12) == (Span("aaa"), Span("  "), Span("ccc"))
    assert flow(parts, 3) == (Span("aaa"),)
    assert flow(parts, 2) == (Span("a…"),)


def test_fit_cuts_the_span_that_crosses_the_edge_and_drops_the_rest():
    assert fit([Span("abc"), Span("def"), Span("ghi")], 5) == (Span("abc"), Span("d…"))
    assert width(fit([Span("abc"), Span("def")], 6)) == 6


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (99_999, "99999"), (100_000, "100k"), (999_499, "999k"), (999_500, "1.00M"), (12_345_678, "12.3M")],
)
def test_counts_of_at_most_five_cells(number, text):
    assert count(number) == text


@given(st.integers(0, 10**14))
def test_no_count_is_wider_than_five_cells(number):
    assert len(count(number)) <= 5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0.00"),
        (0.824, "0.82"),
        (9.996, "10.0"),
        (123.4, "123"),
        (9999.6, "10.0s"),
        (60_000, "60.0s"),
    ],
)
def test_milliseconds_of_at_most_five_cells(value, text):
    assert milliseconds(value) == text


@given(st.floats(0, 1e7))
def test_no_time_is_wider_than_five_cells(value):
    assert len(milliseconds(value)) <= 5 + (value >= 9_999_500)


@pytest.mark.parametrize(("value", "text"), [(0.0, "0"), (0.5, "0.5"), (10.0, "10"), (64.0, "64"), (1234.5, "1,234")])
def test_rates(value, text):
    assert rate(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (59.9, "59s"), (61, "1m01s"), (3725, "1h02m"), (90_000, "1d01h"), (-1, "0s")]
)
def test_durations_of_two_units(seconds, text):
    assert duration(seconds) == text


def test_sparkline_is_as_wide_as_its_room_with_the_newest_at_the_right():
    assert spark([1, 2, 4, 8], 4) == "▂▃▅█"
    assert spark([8], 4) == "   █"
    assert spark([1, 8, 0], 2) == "█ "
    assert spark([], 3) == "   "
    assert spark([1], 0) == ""


@given(st.lists(st.floats(0, 1e12), max_size=80), st.integers(0, 70), st.none() | st.floats(0, 1e12))
def test_sparkline_never_leaves_its_room(values, room, top):
    assert len(spark(values, room, top)) == room
