import json
import logging
import re
from time import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.logs.lines import json_line, text_line, timestamp
from aegis.logs.setup import LineHandler, configure

TIME = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z")
HOSTILE = [
    *('"', "\\", '"}\n{"level":"ERROR"', "\x00\x01\x1f\x7f", "\u2028\u2029", "\xe9\xff", "\ud800", "a\tb", "%s%d{0}"),
    *("<script>", "' or 1=1", "\x1b[31mred", "a b=c"),
]


def test_the_time_is_rfc_3339_in_utc_with_milliseconds():
    assert TIME.fullmatch(timestamp(time()))
    assert timestamp(1.5) == "1970-01-01T00:00:01.500Z"


def test_times_never_go_back():
    times = [timestamp(1e9 + number / 700) for number in range(3000)]
    assert times == sorted(times)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_json_line_is_one_object_on_one_line_whatever_is_in_it(text):
    line = json_line({"message": text, text: 1})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert not [byte for byte in line[:-1] if byte < 0x20]
    assert json.loads(line) == {"message": text, text: 1}


@given(
    st.dictionaries(
        st.text(max_size=8), st.text(max_size=20) | st.integers(-(2**63), 2**63) | st.none() | st.booleans()
    )
)
@settings(deadline=None, max_examples=200)
def test_any_entry_is_read_back_from_its_json_line(entry):
    line = json_line(entry)
    assert line.count(b"\n") == 1
    assert json.loads(line) == entry


def test_the_text_format_is_time_level_message_and_pairs():
    entry = {"time": "T", "level": "INFO", "message": "request", "status": 200, "path": "/a b", "host": "", "x": 'q"'}
    assert text_line(entry) == b'T INFO request status=200 path="/a b" host="" x="q\\""\n'


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_line_is_one_line_whatever_its_values_are(text):
    line = text_line({"time": "T", "level": "INFO", "message": "m", "path": text})
    assert line.startswith(b"T INFO m path=")
    assert line.count(b"\n") == 1
    assert not [byte for byte in line[:-1] if byte < 0x20]


@pytest.mark.parametrize("text", ["two\nlines", "two\r\nlines", "end\n", "\x1b[2J"])
def test_a_text_line_is_one_line_whatever_its_message_is(text):
    line = text_line({"time": "T", "level": "INFO", "message": text, "a": 1})
    assert line.count(b"\n") == 1
    assert line.endswith(b" a=1\n")


# stdlib logging


@pytest.fixture
def records():
    """(lines that were put, a logger whose records become lines)"""
    lines, logger = [], logging.getLogger("aegis.test_log_lines")
    handler = LineHandler(lines.append, text=False)
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield lines, logger
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)


def test_a_record_becomes_a_line_with_its_extra_fields(records):
    lines, logger = records
    logger.warning("backend %s is down", "a", extra={"backend": "a", "failures": 3})
    entry = json.loads(lines[0])
    assert TIME.fullmatch(entry.pop("time"))
    assert entry == {"level": "WARNING", "message": "backend a is down", "backend": "a", "failures": 3}


def test_an_exception_is_one_field_that_ends_with_what_happened(records):
    lines, logger = records

    def deep(depth):
        return deep(depth - 1) if depth else int("x")

    try:
        deep(100)
    except ValueError:
        logger.exception("a request failed")
    entry = json.loads(lines[0])
    assert (entry["level"], entry["message"]) == ("ERROR", "a request failed")
    assert entry["error"].endswith("ValueError: invalid literal for int() with base 10: 'x'")
    assert len(lines[0]) < 4096  # or it would be cut on a pipe


def test_values_that_json_does_not_know_are_written_as_text(records):
    lines, logger = records
    logger.info("x", extra={"kind": ValueError, "where": {1: (2, None)}})
    assert json.loads(lines[0])["where"] == {"1": [2, None]}


@pytest.fixture
def configured():
    """`configure`, undone afterwards."""
    root, ours = logging.getLogger(), logging.getLogger("aegis")
    before = root.handlers[:], root.level, ours.level
    yield configure
    root.handlers[:] = before[0]
    root.setLevel(before[1])
    ours.setLevel(before[2])


@pytest.mark.parametrize(
    ("level", "written"),
    [
        ("debug", ["DEBUG", "INFO", "WARNING", "ERROR"]),
        ("info", ["INFO", "WARNING", "ERROR"]),
        ("warn", ["WARNING", "ERROR"]),
        ("error", ["ERROR"]),
    ],
)
def test_our_loggers_write_from_the_level_on_and_libraries_only_warnings(configured, level, written):
    lines = []
    configured(lines.append, level, text=False)
    for name in ("debug", "info", "warning", "error"):
        getattr(logging.getLogger("aegis.anything"), name)("ours")
        getattr(logging.getLogger("a_library"), name)("theirs")
    entries = [json.loads(line) for line in lines]
    assert [entry["level"] for entry in entries if entry["message"] == "ours"] == written
    assert [entry["level"] for entry in entries if entry["message"] == "theirs"] == ["WARNING", "ERROR"]


def test_the_text_format_is_for_events_too(configured):
    lines = []
    configured(lines.append, "info", text=True)
    logging.getLogger("aegis").info("Aegis started", extra={"version": "1"})
    assert re.fullmatch(rb"\S+ INFO Aegis started version=1\n", lines[0])
