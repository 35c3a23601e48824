"""What goes on to the other side and what does not: the fate of every field name, both directions.

Pure. Strip first, then set ours, so that a client cannot strip what we add.
"""

from collections.abc import Iterable
from enum import IntEnum
from typing import Final

VIA: Final = b"Via: 1.1 aegis\r\n"

WEBSOCKET_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
"""Ours, on the request and on its 101, in place of what came: never a token more than what was agreed to."""

# [SECURITY] HopByHop: these speak of one connection only; forwarded, they let a client steer ours (RFC 9110 §7.6.1).
HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"trailers",
        b"transfer-encoding",
        b"upgrade",
    }
)

# [SECURITY] PeerClaims: only we know who the peer is. From an untrusted peer every claim about it is dropped, also in
# the spelling that CGI-like backends cannot tell from the real one (`X_Forwarded_For`).
PEER_CLAIMS: Final = frozenset({b"forwarded", b"x-real-ip", b"x-client-ip", b"true-client-ip"})
PEER_CLAIM_PREFIX: Final = b"x-forwarded-"


class Fate(IntEnum):
    """What becomes of a field."""

    FORWARD = 0
    DROP = 1  # hop-by-hop
    CLAIM = 2  # forwarded for trusted peers only
    REQUEST_ID = 3  # ours replaces it, a trusted peer's own is kept


def fate(lower_name: bytes) -> Fate:
    """The fate of a request field by its lower-case name."""
    if lower_name in HOP_BY_HOP:
        return Fate.DROP
    dashed = lower_name.replace(b"_", b"-")
    if dashed in PEER_CLAIMS or dashed.startswith(PEER_CLAIM_PREFIX):
        return Fate.CLAIM
    if dashed == b"x-request-id":
        return Fate.REQUEST_ID
    return Fate.FORWARD


def untrusted_peer_fields(address: str, scheme: str) -> bytes:
    """What we say of an untrusted peer: one bytes object per connection, put behind the client's own fields."""
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address.encode(), scheme.encode()) + VIA


def trusted_peer_fields(claims: Iterable[tuple[bytes, bytes]], address: str, scheme: str, host: bytes) -> bytes:
    """What goes on of a trusted proxy's claims: its X-Forwarded-For with the peer appended, the others as they came.

    claims: the fields with Fate.CLAIM in their order. X-Forwarded-Proto and -Host are set where it said nothing.
    """
    chain = []
    seen = set()
    kept = []
    for name, value in claims:
        lower = name.lower()
        if lower == b"x-forwarded-for":
            chain.append(value)
            continue
        seen.add(lower)
        kept.append(b"%b: %b\r\n" % (name, value))
    kept.append(b"X-Forwarded-For: %b\r\n" % b", ".join([*chain, address.encode()]))
    if b"x-forwarded-proto" not in seen:
        kept.append(b"X-Forwarded-Proto: %b\r\n" % scheme.encode())
    if b"x-forwarded-host" not in seen:
        kept.append(b"X-Forwarded-Host: %b\r\n" % host)
    kept.append(VIA)
    return b"".join(kept)
