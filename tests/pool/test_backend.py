import dataclasses

import pytest

from aegis.pool.backend import Backend


@pytest.mark.parametrize(
    ("scheme", "host", "port", "url"),
    [
        ("http", "a.test", 80, "http://a.test:80"),
        ("https", "a.test", 8443, "https://a.test:8443"),
        ("http", "::1", 81, "http://[::1]:81"),
        ("http", "127.0.0.1", 81, "http://127.0.0.1:81"),
    ],
)
def test_the_url_of_a_backend_has_its_port_and_brackets(scheme, host, port, url):
    assert Backend("a", scheme, host, port, 1, ()).url == url


def test_the_identity_of_a_backend_is_frozen():
    backend = Backend("a", "http", "a.test", 80, 1, ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        backend.weight = 2
    assert backend == Backend("a", "http", "a.test", 80, 1, ())
