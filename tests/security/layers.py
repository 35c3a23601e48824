"""One layer of the stack over an innermost app that answers from the table of reasons."""

from __future__ import annotations

from dataclasses import dataclass, field

from aegis.context import KEY, Peer, RequestContext
from aegis.http1.request_head import RequestHeads
from aegis.http1.response_head import Head
from aegis.proxy.app import refuse
from aegis.reasons import Reason

PEER = Peer("203.0.113.9", "203.0.x.x", b"", trusted=False)


@dataclass
class Answered:
    """What came out of the layer."""

    status: str = ""
    fields: list = field(default_factory=list)
    body: bytes = b""
    exc_info: tuple = ()

    def all(self, name):
        return [value for key, value in self.fields if key.lower() == name.lower()]


def request(line="GET / HTTP/1.1", *fields, host="a.test", reason=Reason.OK):
    """The context of a request with this head."""
    raw = "\r\n".join([line, f"Host: {host}", *fields, ""]).encode("latin-1")
    context = RequestContext("0" * 32, PEER, *RequestHeads().parse(raw), 0.0)
    context.reason = reason
    return context


def innermost(environ, start_response):
    """Refuses what was refused, and answers all else with 200."""
    context = environ[KEY]
    if context.reason is not Reason.OK:
        return refuse(context, start_response)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Server", "theirs")])
    return [b"proxied"]


def through(layer, context):
    answered = Answered()

    def start_response(status, fields, *exc_info):
        secure = None if isinstance(fields, Head) else context.secure
        answered.status, answered.exc_info = status, exc_info
        answered.fields = fields if secure is None else secure(fields)  # as wire does

    answered.body = b"".join(map(bytes, layer({KEY: context}, start_response)))
    return answered
