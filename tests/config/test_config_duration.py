import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.config.duration import Duration

YEAR_NS = 8760 * 3600 * 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("5s", 5),
        ("1m30s", 90),
        ("1h", 3600),
        ("100us", 0.0001),
        ("100µs", 0.0001),
        ("100μs", 0.0001),
        ("7ns", 7e-9),
        ("1.5h", 5400),
        (".5s", 0.5),
        ("2.s", 2),
        ("0", 0),
        ("0s", 0),
        ("1h1h", 7200),
        ("8760h", 8760 * 3600),
    ],
)
def test_durations_are_go_style(text, seconds):
    assert Duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s\n",
        "-5s",
        "+5s",
        "5sec",
        "5S",
        "1d",
        "1e3s",
        "1_0s",
        "\u0665s",
        "5s5",
        ".s",
        "8760h1ns",
        "inf",
    ],
)
def test_anything_else_is_no_duration(text):
    with pytest.raises(ValueError):
        Duration(text)


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("90s", "1m30s"),
        ("120s", "2m"),
        ("10m", "10m"),
        ("3600s", "1h"),
        ("3605s", "1h5s"),
        ("1500ms", "1.5s"),
        ("1500us", "1.5ms"),
        ("100µs", "100us"),
        ("0", "0s"),
    ],
)
def test_durations_print_in_go_style_at_their_shortest(text, printed):
    assert f"{Duration(text)}" == str(Duration(text)) == printed
    assert repr(Duration(text)) == f"Duration('{printed}')"


@settings(deadline=None)
@given(st.integers(0, YEAR_NS))
def test_what_a_duration_prints_reads_as_the_same_duration(nanoseconds):
    duration = Duration(nanoseconds / 10**9)
    assert Duration(str(duration)) == duration


@settings(deadline=None)
@given(st.text())
def test_no_text_raises_anything_but_value_error(text):
    with contextlib.suppress(ValueError):
        assert 0 <= Duration(text) <= 8760 * 3600
