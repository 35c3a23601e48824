"""What is fuzzed: functions of bytes that raise on a finding, for `make fuzz` and the short run in the suite.

h11 is the second opinion: what both accept must be read the same way and end at the same byte.
"""

from __future__ import annotations

import re
from contextlib import suppress
from ipaddress import ip_address
from random import Random
from typing import TYPE_CHECKING

import h11

from aegis.config.errors import ConfigErrors
from aegis.config.load import load_text
from aegis.config.reference import dump
from aegis.http1 import request_line
from aegis.http1.chunked import ChunkError, ChunkReader
from aegis.http1.request_head import RequestHeads
from aegis.reasons import Reason, Refused
from aegis.security.hosts import whitelist
from aegis.security.masking import masked_text
from aegis.security.validation import check_path
from tests.fuzz.readers import aegis_request, aegis_response, h11_request, h11_response
from tests.support.cases import accepted_cases, refused_cases

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT_FILES = ("aegis.yml", "conf/aegis.yml", "tests/data/valid.yml", "tests/data/invalid.yml")
_HEADS = RequestHeads()  # one for all: what it remembers must not show
_HOSTS = whitelist(["a.test", "*.wild.test"], [], "0.0.0.0")


def request(data: bytes) -> None:
    """The request core: the same with and without memory, however the body is cut, and as h11 reads it."""
    ours = aegis_request(data, _HEADS, Random(1))
    assert ours == aegis_request(data, RequestHeads(), Random(2))
    if ours is None:
        return
    theirs = h11_request(data)
    assert theirs is None or ours == theirs, f"{ours} against {theirs}"
    assert not re.search(rb"[\r\n\0]", ours.start[1]), "a target that breaks a line"
    for name, value in ours.fields:
        assert re.fullmatch(rb"[!#$%&'*+\-.^_`|~0-9a-z]+", name), name
        assert not re.search(rb"[\0-\x08\x0a-\x1f\x7f]", value), value


def response(data: bytes) -> None:
    """The response core, as an answer to GET and to HEAD."""
    for method in ("GET", "HEAD"):
        ours = aegis_response(data, method, Random(1))
        assert ours == aegis_response(data, method, Random(2))
        theirs = h11_response(data, method) if ours is not None else None
        assert theirs is None or ours == theirs, f"to {method}: {ours} against {theirs}"


def chunks(data: bytes) -> None:
    """The chunk framing: whole, byte by byte, and as h11 reads it."""
    whole = _dechunked(data, len(data) or 1)
    assert whole == _dechunked(data, 1)
    assert whole == _dechunked(data, 7)
    theirs = _h11_dechunked(data) if whole is not None else None
    assert theirs is None or whole == theirs, f"{whole} against {theirs}"


def validator(data: bytes) -> None:
    """The pure rules of validation and masking, against a second, slower way to say the same."""
    target = re.sub(rb"[^\x21-\x7e]", b"", data)
    try:
        check_path(target)
        refused = False
    except Refused as refusal:
        refused = refusal.reason is Reason.PATH_TRAVERSAL
    assert refused is _climbs(target), target
    for host in data.split(b"\n")[:4]:
        with suppress(Refused):
            name = request_line.host_name(host)
            assert name == name.lower()
            assert (name in _HOSTS) is (name == "a.test" or name.endswith(".wild.test")), name
    text = masked_text(data.decode("latin-1"))
    assert masked_text(text) == text, "what is masked stays so"
    for found in re.findall(r"(?<![\w.:])\d{1,3}(?:\.\d{1,3}){3}(?![\w.:])", text):
        assert not _is_address(found), f"{found} in {text!r}"


def config(data: bytes) -> None:
    """The config loader: a configuration or all its errors, each in words; what is accepted survives its dump."""
    text = data.decode("utf-8", "replace")
    try:
        loaded = load_text(text, "aegis.yml", {"PORT": "80"})
    except ConfigErrors as caught:
        errors = caught.errors
    else:
        assert load_text(dump(loaded), "dumped.yml", {}) == loaded
        return
    assert errors
    for error in errors:
        assert error.message
        assert error.line >= 0
        assert str(error).startswith("aegis.yml"), str(error)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "request": request,
    "response": response,
    "chunks": chunks,
    "validator": validator,
    "config": config,
}


def _dechunked(data: bytes, step: int) -> tuple[bytes, int] | None:
    """(data, where the body ends), fed in steps; None when it is malformed or not whole."""
    reader, out, start = ChunkReader(), b"", 0
    try:
        while start < len(data) and not reader.done:
            pieces, start = reader.feed(data, start, min(len(data), start + step))
            out += b"".join(pieces)
    except ChunkError:
        return None
    return (out, start) if reader.done else None


def _h11_dechunked(data: bytes) -> tuple[bytes, int] | None:
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    out = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                out += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return out, len(data) - len(connection.trailing_data[0])
            elif not isinstance(event, h11.Request):
                return None
    except h11.RemoteProtocolError:
        return None


def _climbs(target: bytes) -> bool:
    """As the specification words it: a `..` segment or a control character, decoded up to twice."""
    path = target.split(b"?")[0]
    for _ in range(3):
        if re.search(rb"[\0-\x1f\x7f]", path) or re.search(rb"(?:^|[/\\])\.\.(?:;[^/\\]*)?(?:$|[/\\])", path):
            return True
        path = re.sub(rb"%([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), path)
    return False


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


# where a run begins


def seeds(name: str) -> list[bytes]:
    """Inputs from which the fuzzer sets out: the case files, the shipped configurations, generated messages."""
    from tests.fuzz import messages

    cases = [case.raw for case in (*accepted_cases(), *refused_cases()) if len(case.raw) < 2000]
    if name == "request":
        return cases + [messages.request(Random(seed)) for seed in range(300)]
    if name == "response":
        return [messages.response(Random(seed)) for seed in range(400)]
    if name == "chunks":
        bodies = [raw.partition(b"\r\n\r\n")[2] for raw in cases if b"ransfer-" in raw]
        return [body for body in bodies if body]
    if name == "validator":
        return [raw.split(b" ")[1] for raw in cases if raw.count(b" ") > 1] + [
            *(b"a.test:80\nX.WILD.TEST.\n[::1]:80\n1.2.3.4", b"at 203.0.113.9:80 and [2001:db8::9]:443"),
        ]
    from tests.support.aegis_process import ROOT

    return [(ROOT / path).read_bytes() for path in ROOT_FILES]


def words() -> list[bytes]:
    """Pieces of which findings tend to be made."""
    from tests.fuzz import messages

    fields = [*messages._FIELDS, *messages._HOSTS, *(line for lines in messages._ODD_FRAMING for line in lines)]
    keys = re.findall(rb"^ *([a-z_]+):", b"\n".join(seeds("config")), re.MULTILINE)
    return [
        *{*fields, *messages._BYTES, *messages._TRAILERS, *messages._VERSIONS, *keys, b"%2e", b"..", b"${PORT}"} - {b""}
    ]
