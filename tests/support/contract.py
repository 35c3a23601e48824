"""The public contract of a refusal and of every response: what the specification's tables say, once."""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.support.raw_client import Response


class Refusal(NamedTuple):
    status: int
    text: str
    closes: bool


_BAD_REQUEST = Refusal(400, "bad request", closes=True)
_BAD_GATEWAY = Refusal(502, "bad gateway", closes=False)

REFUSALS = {
    "bad_request_line": _BAD_REQUEST,
    "bad_field": _BAD_REQUEST,
    "bad_host": _BAD_REQUEST,
    "bad_target": _BAD_REQUEST,
    "bad_framing": _BAD_REQUEST,
    "bad_upgrade": _BAD_REQUEST,
    "path_traversal": _BAD_REQUEST,
    "host_not_allowed": _BAD_REQUEST,
    "method_not_allowed": Refusal(405, "method not allowed", closes=False),
    "head_timeout": Refusal(408, "request timeout", closes=True),
    "body_timeout": Refusal(408, "request timeout", closes=True),
    "client_slow": Refusal(408, "request timeout", closes=True),
    "body_too_large": Refusal(413, "content too large", closes=True),
    "target_too_long": Refusal(414, "uri too long", closes=True),
    "expectation_failed": Refusal(417, "expectation failed", closes=True),
    "rate_limited": Refusal(429, "rate limit exceeded", closes=False),
    "head_too_large": Refusal(431, "request header fields too large", closes=True),
    "internal_error": Refusal(500, "internal server error", closes=True),
    "bad_gateway_connect": _BAD_GATEWAY,
    "bad_gateway_reset": _BAD_GATEWAY,
    "bad_gateway_protocol": _BAD_GATEWAY,
    "backend_timeout": _BAD_GATEWAY,
    "no_backend": Refusal(503, "service unavailable", closes=False),
}

SECURITY_FIELDS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-XSS-Protection": "0",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Server": "aegis",
}

DEFAULT_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}

ACCESS_FIELDS = {
    *("time", "request_id", "client", "method", "host", "path", "protocol", "status", "reason"),
    *("bytes_in", "bytes_out", "duration_ms", "backend", "backend_ms", "retries"),
}

REQUEST_ID = re.compile(r"[0-9a-f]{32}")


def check_every_response(response: Response) -> None:
    """What holds for each response whatever it says: security fields once and exact, an id, a date."""
    for name, value in SECURITY_FIELDS.items():
        assert response.all(name) == [value], f"{name} of {response}"
    assert response.all("X-Powered-By") == []
    assert len(response.all("X-Request-ID")) == 1, response
    assert len(response.all("Date")) == 1, response
    assert parsedate_to_datetime(response["Date"]).tzinfo is not None


def check_refusal(response: Response, reason: str, *, to_head: bool = False) -> None:
    """`response` is the whole, exact refusal that belongs to `reason`; `to_head`: it answers a HEAD."""
    refusal = REFUSALS[reason]
    body = json.dumps({"error": refusal.text}, separators=(",", ":")).encode()
    assert response.status == refusal.status, response
    assert response.body == (b"" if to_head else body), response
    assert response.all("Content-Type") == ["application/json"], response
    assert response.all("Content-Length") == [str(len(body))], response
    assert REQUEST_ID.fullmatch(response["X-Request-ID"]), response
    check_every_response(response)
    if refusal.closes:
        assert "close" in response.tokens("Connection"), f"a refusal that closes says so: {response}"
    if reason == "method_not_allowed":
        assert {method.strip() for method in response["Allow"].split(",")} == DEFAULT_METHODS
    if reason == "no_backend":
        assert int(response["Retry-After"]) >= 1
