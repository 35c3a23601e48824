import pytest

from aegis.security.forwarding import (
    VIA,
    Fate,
    fate,
    trusted_peer_fields,
    untrusted_peer_fields,
)
from tests.http1.heads import pairs


@pytest.mark.parametrize(
    ("name", "becomes"),
    [
        *((name, Fate.DROP) for name in ("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te")),
        *((name, Fate.DROP) for name in ("proxy-authorization", "trailer", "trailers", "transfer-encoding", "upgrade")),
        *(
            (name, Fate.CLAIM)
            for name in ("forwarded", "x-real-ip", "x-client-ip", "true-client-ip", "x-forwarded-for")
        ),
        *(
            (name, Fate.CLAIM)
            for name in ("x-forwarded-proto", "x-forwarded-host", "x-forwarded-port", "x-forwarded-x")
        ),
        *((name, Fate.CLAIM) for name in ("x_forwarded_for", "x-forwarded_for", "x_real_ip", "true_client-ip")),
        *((name, Fate.REQUEST_ID) for name in ("x-request-id", "x_request_id", "x-request_id")),
        *((name, Fate.FORWARD) for name in ("host", "accept", "cookie", "authorization", "via", "traceparent", "x-a")),
        *(
            (name, Fate.FORWARD)
            for name in ("tracestate", "x_a", "x-forward", "forwarded-x", "te-x", "location", "range")
        ),
    ],
)
def test_the_fate_of_a_field(name, becomes):
    assert fate(name.encode()) is becomes


def test_of_an_untrusted_peer_we_say_its_address_and_scheme_and_that_it_came_through_us():
    assert pairs(untrusted_peer_fields("203.0.113.9", "https")) == [
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Proto", "https"),
        ("Via", "1.1 aegis"),
    ]
    assert untrusted_peer_fields("2001:db8::1", "http").startswith(b"X-Forwarded-For: 2001:db8::1\r\n")


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ([], [("X-Forwarded-For", "10.0.0.1"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "a.test")]),
        (
            [("X-Forwarded-For", "1.1.1.1")],
            [("X-Forwarded-For", "1.1.1.1, 10.0.0.1"), ("X-Forwarded-Proto", "http"), ("X-Forwarded-Host", "a.test")],
        ),
        (
            [("x-forwarded-for", "1.1.1.1, 2.2.2.2"), ("X-FORWARDED-FOR", "3.3.3.3")],
            [
                ("X-Forwarded-For", "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1"),
                ("X-Forwarded-Proto", "http"),
                ("X-Forwarded-Host", "a.test"),
            ],
        ),
        (
            [("X-Forwarded-Proto", "https"), ("X-Real-IP", "1.1.1.1")],
            [
                ("X-Forwarded-Proto", "https"),
                ("X-Real-IP", "1.1.1.1"),
                ("X-Forwarded-For", "10.0.0.1"),
                ("X-Forwarded-Host", "a.test"),
            ],
        ),
        (
            [("X-Forwarded-Host", "outer.test"), ("Forwarded", "for=1.1.1.1"), ("X-Forwarded-Port", "443")],
            [
                ("X-Forwarded-Host", "outer.test"),
                ("Forwarded", "for=1.1.1.1"),
                ("X-Forwarded-Port", "443"),
                ("X-Forwarded-For", "10.0.0.1"),
                ("X-Forwarded-Proto", "http"),
            ],
        ),
    ],
)
def test_a_trusted_peers_claims_go_on_with_the_peer_appended(claims, said):
    claims = [(name.encode(), value.encode()) for name, value in claims]
    assert pairs(trusted_peer_fields(claims, "10.0.0.1", "http", b"a.test")) == [*said, ("Via", "1.1 aegis")]


def test_via_names_us_by_the_version_we_received():
    assert VIA == b"Via: 1.1 aegis\r\n"
