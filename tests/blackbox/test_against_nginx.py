"""A stranger as oracle: the same requests through nginx and Aegis to the same backend.

What the client and the backend see may differ only by a promise, and each promise is a row of docs/differences.md, so
that whoever moves from nginx can read what changes. A promise that no request needs any more is stale and fails too.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import nginx
from tests.support.aegis_process import AegisProcess, config_for
from tests.support.contract import SECURITY_FIELDS
from tests.support.poll import eventually
from tests.support.raw_client import AbortedError, ConnectionEndedError, ProtocolError, RawClient, Response
from tests.support.scripted_backend import ScriptedBackend, answer, chunked, then_close, then_reset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.process, pytest.mark.skipif(nginx.PROGRAM is None, reason="nginx is not installed")]

SEED, COMBINED = 20_260_801, 300
PAGE = Path(__file__).parents[2] / "docs" / "differences.md"
HOST = "Host: example.test"


# what is sent


@dataclass(frozen=True)
class Part:
    """A piece of a request: its text, why Aegis refuses it ("" = it does not), whether nginx refuses it instead."""

    text: str
    reason: str = ""
    only_nginx_refuses: bool = False


@dataclass(frozen=True)
class Case:
    method: Part
    target: Part
    version: Part
    host: Part
    fields: tuple[Part, ...] = ()
    body: Part = Part("")  # its fields, an empty line, and its bytes

    @property
    def parts(self) -> tuple[Part, ...]:
        return (self.method, self.target, self.version, self.host, *self.fields, self.body)

    @property
    def reasons(self) -> set[str]:
        return {part.reason for part in self.parts if part.reason}

    @property
    def path(self) -> str:
        return self.target.text.partition("?")[0]

    @property
    def wire(self) -> bytes:
        fields, _, content = self.body.text.partition("\r\n\r\n")
        first = f"{self.method.text} {self.target.text} {self.version.text}".rstrip(" ")
        lines = [first, self.host.text, *(part.text for part in self.fields), fields]
        return "".join(f"{line}\r\n" for line in lines if line).encode("latin-1") + b"\r\n" + content.encode("latin-1")


def parts(*texts: str, reason: str = "") -> list[Part]:
    return [Part(text, reason) for text in texts]


METHODS = parts("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
ODD_METHODS = parts("PROPFIND", "TRACE", "get", "CONNECT", reason="method_not_allowed")

TARGETS = [
    *parts(
        "/", "/?", "/a?b=c&d", "/a//b", "/a/./b", "/%41", "/a%2fb", "/a%20b", "/a..b", "/a;..;b", "/a\\b", "/~u/;p=1"
    ),
    *parts("/a?../b", "/a?%zz", "http://example.test/x?y", "http://EXAMPLE.test:80/x", "/" + "long" * 400),
    *parts("/chunked", "/trailers", "/unframed", "/empty", "/unmodified", "/failing", "/cookies", "/moved", "/fields"),
    *parts("/odd_status", "/reset", "/short"),
    Part("/a%zz", only_nginx_refuses=True),
]
ODD_TARGETS = [
    *parts("/a/../b", "/a/%2e%2e/b", "/a/%252e%252e/b", "/..;x/b", "/a%00b", "/a%0ab", reason="path_traversal"),
    *parts("/a#b", "*", "/\xe9", "example", reason="bad_target"),
    *parts("/a b", reason="bad_request_line"),
    *parts("http://other.test/", reason="bad_host"),
    *parts("/" + "long" * 2100, reason="target_too_long"),
]

VERSIONS = parts("HTTP/1.1", "HTTP/1.0")
ODD_VERSIONS = parts("HTTP/1.2", "HTTP/2.0", "http/1.1", "", " HTTP/1.1", reason="bad_request_line")

HOSTS = parts(HOST, "Host: EXAMPLE.test", "host: example.test:8080", "Host:example.test.")
ODD_HOSTS = [
    *parts("", f"{HOST}\r\n{HOST}", "Host: a b", "Host: u@example.test", reason="bad_host"),
    *parts("Host: stranger.test", reason="host_not_allowed"),
]

FIELDS = [
    *parts("X-A: 1", "x-a:2", "X-A:  3\t", "X-Empty:", "X-Obs: \xe9", "X-Tab: a\tb", "X_under: 1", "Cookie: a=1"),
    *parts(
        "Cookie: b=2", "Accept-Encoding: gzip", "Range: bytes=0-1", 'If-None-Match: "x"', "Authorization: Basic eA=="
    ),
    *parts("User-Agent: stranger", "traceparent: 00-1-2-01", "X-Long: " + "long" * 1500),
    *parts("Connection: x-named\r\nX-Named: 1", "Connection: close", "Connection: keep-alive", "Keep-Alive: timeout=5"),
    *parts("Proxy-Connection: keep-alive", "Proxy-Authorization: Basic eA==", "TE: trailers", "Trailer: X-T"),
    *parts(
        "X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.1", "X-Real-IP: 192.0.2.1"
    ),
    *parts("X_Forwarded_For: 192.0.2.1", "X-Request-ID: theirs", "Via: 1.0 theirs", "Expect: 100-continue"),
    *parts("\r\n".join(f"X-{number}: {number}" for number in range(60))),
]
ODD_FIELDS = [
    *parts(
        "X-A : 1",
        "X-A: 1\r\n folded",
        "X-A: 1\nX-B: 2",
        "X-A: a\x01b",
        "X-\xc9: 1",
        "X A: 1",
        ": 1",
        reason="bad_field",
    ),
    *parts("Expect: a miracle", reason="expectation_failed"),
    *parts("X-Long: " + "long" * 2100, reason="head_too_large"),
    *parts("\r\n".join(f"X-{number}: {number}" for number in range(120)), reason="head_too_large"),
]

BODIES = parts(
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 0\r\n\r\n",
    "Content-Length: 005\r\n\r\nhello",
    "Content-Length: 60000\r\n\r\n" + "body " * 12_000,
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "Transfer-Encoding: Chunked\r\n\r\n2\r\nhe\r\n0003;x=y\r\nllo\r\n0\r\nX-T: 1\r\n\r\n",
)
ODD_BODIES = [
    *parts(
        "Content-Length: +5\r\n\r\nhello",
        "Content-Length: 5, 5\r\n\r\nhello",
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        "Transfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n0\r\n\r\n",
        reason="bad_framing",
    ),
    *parts("Content-Length: 70000\r\n\r\n" + "x" * 70_000, reason="body_too_large"),
    *parts("Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 5\r\n\r\nhello", reason="bad_upgrade"),
]

GET, POST, ROOT, ONE_ONE, OURS = METHODS[0], METHODS[2], TARGETS[0], VERSIONS[0], HOSTS[0]


def plain(**changed: object) -> Case:
    return Case(**{"method": GET, "target": ROOT, "version": ONE_ONE, "host": OURS} | changed)


def one_by_one() -> Iterator[Case]:
    """Every piece alone in an otherwise plain request."""
    yield from (plain(method=method) for method in [*METHODS, *ODD_METHODS])
    yield from (plain(target=target) for target in [*TARGETS, *ODD_TARGETS])
    yield plain(method=METHODS[-1], target=Part("*", only_nginx_refuses=True))
    yield from (plain(version=version) for version in [*VERSIONS, *ODD_VERSIONS])
    yield from (plain(host=host) for host in [*HOSTS, *ODD_HOSTS])
    yield from (plain(fields=(one,)) for one in [*FIELDS, *ODD_FIELDS])
    yield from (plain(method=POST, body=body) for body in [*BODIES, *ODD_BODIES])


def combined(count: int) -> Iterator[Case]:
    """Pieces that Aegis accepts, thrown together."""
    dice = random.Random(SEED)
    for _ in range(count):
        fields = dice.sample([one for one in FIELDS if len(one.text) < 1000], dice.randint(0, 6))
        if sum(one.text.startswith("Connection") for one in fields) > 1:
            fields = [one for one in fields if not one.text.startswith("Connection")]
        method = dice.choice(METHODS)
        # A body on a request that asks for none is legal, and rare for a reason.
        body = dice.choice(BODIES) if method.text in {"POST", "PUT", "PATCH"} else Part("")
        target = dice.choice(TARGETS)
        host = HOSTS[0] if target.text.startswith("http") else dice.choice(HOSTS)
        version = ONE_ONE if "chunked" in body.text.lower() else dice.choice([ONE_ONE, ONE_ONE, *VERSIONS])
        yield Case(method, target, version, host, tuple(fields), body)


CASES = [*one_by_one(), *combined(COMBINED)]


# what is answered

ODD_ANSWER = [
    ("Date", "Tue, 15 Nov 1994 08:12:31 GMT"),
    *(("Server", "theirs"), ("X-Powered-By", "theirs"), ("X-Frame-Options", "SAMEORIGIN"), ("X-Request-ID", "theirs")),
    *(
        ("ETag", '"x"'),
        ("Vary", "a"),
        ("Vary", "b"),
        ("X_under", "1"),
        ("Via", "1.0 theirs"),
        ("Cache-Control", "no-cache"),
    ),
    *(("Keep-Alive", "timeout=5"), ("Proxy-Authenticate", "Basic"), ("Trailer", "X-T"), ("Upgrade", "h2c")),
    *(("Connection", "X-Named"), ("X-Named", "1"), ("X-Accel-Buffering", "yes"), ("X-Pad", "1")),
]


def script(backend: ScriptedBackend) -> None:
    backend.on("/chunked", chunked(b"hel", b"lo"))
    backend.on("/trailers", chunked(b"hel", b"lo", end=b"0\r\nX-T: 1\r\n\r\n"))
    backend.on("/unframed", then_close(answer(body=b"hello", length=None)))
    backend.on("/empty", answer(204, length=None))
    backend.on("/unmodified", answer(304, [("ETag", '"x"')], length=None))
    backend.on("/failing", answer(503, body=b"theirs"))
    backend.on("/odd_status", answer(299, body=b"theirs"))
    backend.on("/cookies", answer(fields=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("set-cookie", "c=3")]))
    backend.on("/moved", answer(302, [("Location", "http://backend/next")]))
    backend.on("/fields", answer(fields=ODD_ANSWER, body=b"hello"))
    backend.on("/reset", then_reset(b""))
    backend.on("/short", then_close(answer(body=b"hello", length=9)))


# what is seen

Lines = dict[str, list[str]]


@dataclass
class Asked:
    """What the backend saw of one request."""

    method: str
    target: str
    fields: Lines
    body: bytes


@dataclass
class Seen:
    """What client and backend saw of one case through one proxy. status: 0 when no answer could be read."""

    status: int
    phrase: str = ""
    interim: list[int] = field(default_factory=list)
    fields: Lines = field(default_factory=dict)
    body: bytes = b""
    whole: bool = True
    asked: list[Asked] = field(default_factory=list)

    def drop(self, *names: str) -> Lines:
        return {name: self.fields.pop(name) for name in names if name in self.fields}

    def drop_asked(self, *names: str) -> bool:
        """Whether the backend saw any of these fields."""
        dropped = [one.fields.pop(name) for one in self.asked for name in names if name in one.fields]
        return bool(dropped)


def lines(fields: list[tuple[str, str]]) -> Lines:
    found: Lines = {}
    for name, value in fields:
        found.setdefault(name.lower(), []).append(value)
    return found


def see(address: tuple[str, int], case: Case, backend: ScriptedBackend) -> Seen:
    mark = backend.mark()
    with RawClient(address) as client:
        client.send(case.wire)
        try:
            response = client.read_response(case.method.text)
            seen = Seen(response.status, response.reason, fields=lines(response.fields), body=response.body)
            seen.interim = [one.status for one in response.interim]
        except AbortedError as aborted:
            response: Response = aborted.response
            seen = Seen(
                response.status, response.reason, fields=lines(response.fields), body=response.body, whole=False
            )
        except (ConnectionEndedError, ProtocolError):
            seen = Seen(0)
    seen.asked = [Asked(one.method, one.target, lines(one.fields), one.body) for one in mark.completed()]
    return seen


# what may differ

PROMISES: dict[str, Callable[[Case, Seen, Seen], bool]] = {}


def promise(words: str) -> Callable[[Callable[[Case, Seen, Seen], bool]], Callable[[Case, Seen, Seen], bool]]:
    """A difference that Aegis promises, in the words of docs/differences.md.

    The function takes it out of what was seen and says whether there was one; it asserts what is promised.
    """

    def register(check: Callable[[Case, Seen, Seen], bool]) -> Callable[[Case, Seen, Seen], bool]:
        PROMISES[words] = check
        return check

    return register


@promise("`Server`, the security fields: set on every answer, in place of the backend's; `X-Powered-By` goes")
def security_fields(case: Case, aegis: Seen, other: Seen) -> bool:
    ours = aegis.drop(*map(str.lower, SECURITY_FIELDS))
    assert ours == {name.lower(): [value] for name, value in SECURITY_FIELDS.items()}
    assert "x-powered-by" not in aegis.fields
    other.drop("x-powered-by", *map(str.lower, SECURITY_FIELDS))
    return True


@promise("`X-Request-ID`: a fresh one toward the backend, the same one toward the client")
def request_id(case: Case, aegis: Seen, other: Seen) -> bool:
    (ours,) = aegis.drop("x-request-id")["x-request-id"]
    assert len(ours) == 32
    for one in aegis.asked:
        assert one.fields.pop("x-request-id") == [ours]
    other.drop("x-request-id")
    for one in other.asked:
        one.fields.pop("x-request-id", None)
    return True


@promise("`RateLimit`, `RateLimit-Policy`: on every answer that passed the limiter")
def rate_limit(case: Case, aegis: Seen, other: Seen) -> bool:
    return set(aegis.drop("ratelimit", "ratelimit-policy")) == {"ratelimit", "ratelimit-policy"}


@promise("`Date`: the backend's, where it has one")
def date(case: Case, aegis: Seen, other: Seen) -> bool:
    ours, theirs = aegis.drop("date")["date"], other.drop("date").get("date")
    if case.path == "/fields" and aegis.status == 200:
        assert ours == [ODD_ANSWER[0][1]]
    return ours != theirs


@promise("Reason phrase: the standard one of the status")
def phrase(case: Case, aegis: Seen, other: Seen) -> bool:
    differed = aegis.phrase != other.phrase
    aegis.phrase = other.phrase = ""
    return differed


@promise("`Connection: keep-alive` is said to HTTP/1.0 clients only")
def keep_alive(case: Case, aegis: Seen, other: Seen) -> bool:
    if case.version.text == "HTTP/1.1" and other.fields.get("connection") == ["keep-alive"]:
        assert "connection" not in aegis.fields or aegis.fields["connection"] == ["close"]
        del other.fields["connection"]
        aegis.drop("connection")
        return True
    return False


@promise(
    "Fields of one connection in an answer: `Proxy-Authenticate`, `Trailer` and what `Connection` names are removed"
)
def hop_by_hop_answer(case: Case, aegis: Seen, other: Seen) -> bool:
    assert not {"proxy-authenticate", "trailer", "x-named", "upgrade", "keep-alive"} & set(aegis.fields)
    return bool(other.drop("proxy-authenticate", "trailer", "x-named", "upgrade"))


@promise("`Location` and `X-Accel-*`, `X-Pad`: passed on untouched, and without effect")
def untouched(case: Case, aegis: Seen, other: Seen) -> bool:
    if case.path == "/moved":
        assert aegis.drop("location") == {"location": ["http://backend/next"]}
        return bool(other.drop("location"))
    return bool(aegis.drop("x-accel-buffering", "x-pad"))


@promise("`Via: 1.1 aegis` and `X-Forwarded-For`, `-Proto`, `-Host` are set toward the backend")
def forwarded(case: Case, aegis: Seen, other: Seen) -> bool:
    for one in aegis.asked:
        assert one.fields["via"].pop() == "1.1 aegis"
        if not one.fields["via"]:
            del one.fields["via"]
        assert one.fields.pop("x-forwarded-for") == ["127.0.0.1"]
        assert one.fields.pop("x-forwarded-proto") == ["http"]
        assert one.fields.pop("x-forwarded-host") == one.fields["host"]
    return bool(aegis.asked)


@promise("What an untrusted client says of itself (`Forwarded`, `X-Forwarded-*`, `X-Real-IP`, …) is dropped")
def claims(case: Case, aegis: Seen, other: Seen) -> bool:
    names = ("forwarded", "x-forwarded-for", "x-forwarded-proto", "x-real-ip")
    assert not any(name in one.fields for one in aegis.asked for name in (*names, "x_forwarded_for"))
    return other.drop_asked(*names)


@promise("Fields of one connection in a request: `Proxy-*`, `Trailer` and what `Connection` names are removed")
def hop_by_hop_request(case: Case, aegis: Seen, other: Seen) -> bool:
    names = ("proxy-connection", "proxy-authorization", "trailer", "x-named")
    assert not any(name in one.fields for one in aegis.asked for name in names)
    return other.drop_asked(*names)


@promise("Field names with `_` are forwarded")
def underscores(case: Case, aegis: Seen, other: Seen) -> bool:
    assert not any("x_under" in one.fields for one in other.asked)
    return aegis.drop_asked("x_under")


@promise("A chunked request stays chunked")
def chunked_request(case: Case, aegis: Seen, other: Seen) -> bool:
    if "chunked" not in case.body.text.lower():
        return False
    for one in aegis.asked:
        assert one.fields.pop("transfer-encoding") == ["chunked"]
    for one in other.asked:
        one.fields.pop("transfer-encoding", None)
        one.fields.pop("content-length", None)
    return True


@promise("`100 Continue` is sent only when the body has not come yet")
def continues(case: Case, aegis: Seen, other: Seen) -> bool:
    assert aegis.interim == []
    differed, other.interim = other.interim != [], []
    return differed


@promise("Aegis's own answers are JSON, nginx's are HTML")
def own_answers(case: Case, aegis: Seen, other: Seen) -> bool:
    if case.path != "/reset":
        return False
    assert (aegis.status, aegis.fields["content-type"]) == (502, ["application/json"])
    for seen in (aegis, other):
        seen.drop("content-type", "content-length")
        seen.body = b""
        # Both ask once more when the connection was a parked one and the request may be repeated; Aegis in any case.
        if len(seen.asked) == 2 and case.method.text not in {"POST", "PATCH"} and not case.body.text:
            assert seen.asked.pop() == seen.asked[0]
    return True


# what only one of them refuses: reason → the row of the page

STRICTER = {
    "bad_request_line": "Two spaces in the request line, no version, versions such as `HTTP/1.2`",
    "bad_field": "A bare LF or a control byte in a field, a name with bytes that no name may have",
    "bad_host": "HTTP/1.0 without `Host`, a `Host` that contradicts an absolute target",
    "bad_target": "`#` or a byte above 0x7e in the target",
    "bad_framing": "A bare LF in chunks",
    "bad_upgrade": "An `Upgrade` with a body",
    "path_traversal": "A `..` segment, also when encoded once or twice",
    "host_not_allowed": "A `Host` that is not served",
    "method_not_allowed": "A method that is not in `server.allowed_methods`",
    "expectation_failed": "An `Expect` other than `100-continue`",
    "head_too_large": "More than 100 fields, or a head over `server.max_header_bytes`",
}
REFUSED_BY_NGINX = "`OPTIONS *` and a `%` without two hex digits: Aegis forwards them, nginx refuses them"
OTHER_STATUS = "The status of a refusal: see the table of reasons"


def test_a_request_is_seen_alike_through_both_or_differs_by_a_promise_of_the_documentation():
    needed: Counter[str] = Counter()
    found = []
    settings = {"max_body_bytes": nginx.LARGEST_BODY}
    with ScriptedBackend() as backend, nginx.NginxProcess(backend) as other:
        script(backend)
        with AegisProcess(config_for([backend], server=settings | {"allowed_hosts": ["example.test"]})) as aegis:
            for case in CASES:
                if case.method.text == "HEAD" and case.path in {"/unframed", "/short", "/trailers", "/chunked"}:
                    continue  # the scripts would send a body behind a head that has none
                ours, theirs = (see(proxy.address, case, backend) for proxy in (aegis, other))
                try:
                    compare(case, ours, theirs, aegis, needed)
                except AssertionError as difference:
                    found.append(f"{case.wire[:300]!r}\n{difference}")
    assert not found, f"{len(found)} of {len(CASES)} requests differ:\n" + "\n\n".join(found[:10])
    stale = {*PROMISES, *STRICTER.values(), REFUSED_BY_NGINX, OTHER_STATUS} - set(needed)
    assert not stale, f"no request needs these promises: {sorted(stale)}"


def compare(case: Case, aegis: Seen, other: Seen, process: AegisProcess, needed: Counter[str]) -> None:
    if case.reasons:
        identity = aegis.fields["x-request-id"][0]
        (line,) = eventually(lambda: process.access_lines(request_id=identity), "its access line")
        assert line["reason"] in case.reasons, line
        assert not aegis.asked, "a refused request reached the backend"
        if other.asked or other.status in {0, 502}:  # 502: the backend, as strict as it is, would not have it either
            needed[STRICTER[line["reason"]]] += 1
        elif other.status != aegis.status:
            needed[OTHER_STATUS] += 1
        return
    if any(part.only_nginx_refuses for part in case.parts):
        assert (other.status, other.asked, len(aegis.asked)) == (400, [], 1)
        needed[REFUSED_BY_NGINX] += 1
        return
    for words, check in PROMISES.items():
        needed[words] += check(case, aegis, other)
    assert aegis == other, f"aegis: {aegis}\nnginx: {other}"


@pytest.mark.parametrize("words", [*PROMISES, *STRICTER.values(), REFUSED_BY_NGINX, OTHER_STATUS])
def test_a_promised_difference_is_a_row_of_the_documentation(words):
    assert f"| {words} |" in PAGE.read_text()
