"""The whole head that a backend gets: the client's fields, then ours."""

import pytest

from tests.proxy.toward_backend import ADDRESS, IDENTITY, peer, request_head


def toward_backend(*lines, address=ADDRESS, trusted=()):
    line, fields = request_head(
        "".join(line + "\r\n" for line in lines).encode("latin-1"), address=address, trusted=tuple(trusted)
    )
    return line.decode(), [(name.decode(), value.decode("latin-1")) for name, value in fields]


def values(fields, name):
    return [value for key, value in fields if key.lower() == name.lower()]


def test_the_request_line_is_as_it_came_and_of_http_11():
    assert toward_backend("GET /%2e?a=%zz HTTP/1.0", "Host: a.test")[0] == "GET /%2e?a=%zz HTTP/1.1"
    assert toward_backend("FOO http://a.test/x HTTP/1.1", "Host: a.test")[0] == "FOO /x HTTP/1.1"


def test_the_clients_fields_come_first_in_their_order_and_ours_behind_them():
    _, fields = toward_backend("GET / HTTP/1.1", "X-B: 1", "Host: a.test", "X-A: 2", "X-B: 3")
    assert fields[:4] == [("X-B", "1"), ("Host", "a.test"), ("X-A", "2"), ("X-B", "3")]
    assert sorted(fields[4:]) == [
        ("Via", "1.1 aegis"),
        ("X-Forwarded-For", "203.0.113.9"),
        ("X-Forwarded-Host", "a.test"),
        ("X-Forwarded-Proto", "http"),
        ("X-Request-ID", IDENTITY),
    ]


def test_nothing_is_added_that_the_client_did_not_say():
    _, fields = toward_backend("GET / HTTP/1.1", "Host: a.test")
    names = {name for name, _ in fields}
    assert not names & {"Accept", "Accept-Encoding", "User-Agent", "Connection", "Content-Length", "Transfer-Encoding"}


@pytest.mark.parametrize(
    "connection", ["x-forwarded-for", "x-request-id, via", "x-forwarded-host, x-forwarded-proto, close", "host"]
)
def test_a_client_cannot_strip_what_we_add(connection):
    _, fields = toward_backend("GET / HTTP/1.1", "Host: a.test", f"Connection: {connection}")
    for name in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Request-ID", "Via", "Host"):
        assert len(values(fields, name)) == 1


def test_every_claim_of_an_untrusted_peer_is_replaced():
    claims = [
        "X-Forwarded-For: 6.6.6.6",
        "x_forwarded_for: 6.6.6.6",
        "X-Forwarded-Host: evil",
        "X-Forwarded-Proto: https",
    ]
    claims += ["Forwarded: for=6.6.6.6", "X-Real-IP: 6.6.6.6", "X-Client-IP: 6.6.6.6", "True-Client-IP: 6.6.6.6"]
    _, fields = toward_backend("GET / HTTP/1.1", "Host: a.test", *claims, "X-Request-ID: evil")
    assert not [value for _, value in fields if "6.6.6.6" in value or "evil" in value]
    assert values(fields, "X-Forwarded-For") == ["203.0.113.9"]
    assert values(fields, "X-Forwarded-Proto") == ["http"]


def test_a_via_of_others_stays_before_ours():
    _, fields = toward_backend("GET / HTTP/1.1", "Host: a.test", "Via: 1.0 other")
    assert values(fields, "Via") == ["1.0 other", "1.1 aegis"]


def test_a_trusted_peers_claims_are_appended_to():
    _, fields = toward_backend(
        "GET / HTTP/1.1",
        "Host: a.test",
        "X-Forwarded-For: 198.51.100.7",
        "X-Forwarded-Proto: https",
        "X-Real-IP: 198.51.100.7",
        address="10.0.0.1",
        trusted=["10.0.0.0/8"],
    )
    assert values(fields, "X-Forwarded-For") == ["198.51.100.7, 10.0.0.1"]
    assert values(fields, "X-Forwarded-Proto") == ["https"]
    assert values(fields, "X-Forwarded-Host") == ["a.test"]
    assert values(fields, "X-Real-IP") == ["198.51.100.7"]
    assert values(fields, "X-Request-ID") == [IDENTITY]
    assert values(fields, "Via") == ["1.1 aegis"]


def test_a_trusted_peers_claim_that_its_connection_field_names_is_stripped():
    _, fields = toward_backend(
        "GET / HTTP/1.1",
        "Host: a.test",
        "Connection: x-real-ip",
        "X-Real-IP: 198.51.100.7",
        address="10.0.0.1",
        trusted=["10.0.0.0/8"],
    )
    assert values(fields, "X-Real-IP") == []


@pytest.mark.parametrize(
    ("address", "said"), [("::ffff:203.0.113.9", "203.0.113.9"), ("2001:db8::1", "2001:db8::1"), ("::1", "::1")]
)
def test_the_peer_is_said_in_its_one_spelling(address, said):
    _, fields = toward_backend("GET / HTTP/1.1", "Host: a.test", address=address)
    assert values(fields, "X-Forwarded-For") == [said]


def test_a_mapped_peer_is_trusted_as_the_ipv4_address_it_is():
    assert peer("::ffff:10.0.0.1", ("10.0.0.0/8",)).trusted
    assert not peer("::ffff:11.0.0.1", ("10.0.0.0/8",)).trusted
