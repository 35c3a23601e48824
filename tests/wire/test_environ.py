import pytest
from gevent import socket

from aegis.context import KEY
from aegis.http1.request_head import RequestHeads
from aegis.net.deadlines import Deadlines
from aegis.wire.server import Server, WireSettings


def asked(serve, raw, **options):
    """The environ that an app sees for these bytes."""
    seen = {}

    def app(environ, start_response):
        seen.update(environ)
        start_response("200 OK", [])
        return []

    client = serve(app, **options)()
    client.send(raw)
    client.read_response()
    return seen


def test_the_environ_of_a_request(serve):
    environ = asked(
        serve, b"PUT /a%20b/%C3%A9?x=%20y HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 0\r\nX-A: \xe9\r\n\r\n"
    )
    wanted = {
        "REQUEST_METHOD": "PUT",
        "PATH_INFO": "/a b/\xc3\xa9",
        "QUERY_STRING": "x=%20y",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "a.test:80",
        "CONTENT_LENGTH": "0",
        "HTTP_X_A": "\xe9",
        "SCRIPT_NAME": "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
    }
    assert {name: environ[name] for name in wanted} == wanted
    assert environ["REMOTE_ADDR"].startswith("127.")
    assert environ["SERVER_NAME"].startswith("127.")
    assert environ["SERVER_PORT"].isdigit()


def test_all_that_pep_3333_demands_is_there(serve):
    environ = asked(serve, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    for name in ("wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess", "wsgi.run_once"):
        assert name in environ
    assert type(environ) is dict


def test_layers_that_read_the_context_get_it_alone_and_the_body_if_there_is_one(serve):
    raw = b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: %d\r\nX-A: 1\r\n\r\n%b"
    assert set(asked(serve, raw % (0, b""), full_environ=False)) == {KEY}
    assert set(asked(serve, raw % (1, b"x"), full_environ=False)) == {KEY, "wsgi.input"}


def test_a_server_leaves_them_out_unless_told_otherwise():
    with socket.socket() as listener:
        settings = WireSettings(1, 1, 1, 8192, 100, 10)
        assert Server(listener, None, settings, Deadlines(), RequestHeads()).full_environ is False


def test_no_request_sees_fields_of_another(serve):
    seen = []

    def app(environ, start_response):
        seen.append({name for name in environ if name.startswith("HTTP_")})
        environ["HTTP_X_LEFT"] = "behind"
        start_response("200 OK", [])
        return []

    client = serve(app)()
    client.get("/", [("X-A", "1")])
    client.get("/", [("X-B", "1")])
    client.get("/", [("X-A", "1")])
    assert seen == [{"HTTP_HOST", "HTTP_X_A"}, {"HTTP_HOST", "HTTP_X_B"}, {"HTTP_HOST", "HTTP_X_A"}]


def test_a_proxy_field_is_no_environment_variable_of_ours(serve):
    # httpoxy: `Proxy:` becomes HTTP_PROXY in CGI; here it is one field among others and nothing reads it as more.
    environ = asked(serve, b"GET / HTTP/1.1\r\nHost: a.test\r\nProxy: evil\r\n\r\n")
    assert environ["HTTP_PROXY"] == "evil"
    assert "http_proxy" not in environ


@pytest.mark.parametrize("name", ["Transfer_Encoding", "X_Forwarded_For", "HTTP_HOST", "wsgi_input", "REMOTE_ADDR"])
def test_a_name_with_an_underscore_never_enters(serve, name):
    plain = asked(serve, b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
    environ = asked(serve, b"GET / HTTP/1.1\r\nHost: a.test\r\n" + name.encode() + b": evil\r\n\r\n")
    assert set(environ) == set(plain)
    assert "evil" not in [value for value in environ.values() if isinstance(value, str)]
