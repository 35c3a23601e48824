"""The innermost app of a stack of one layer: answers refusals as the proxy app does, and leaves all else to a test."""

from __future__ import annotations

from aegis.context import KEY
from aegis.proxy.app import refuse
from aegis.reasons import Reason, Refused


def innermost(behave):
    def app(environ, start_response):
        context = environ[KEY]
        if context.reason is not Reason.OK:
            return refuse(context, start_response)
        try:
            return behave(environ, start_response)
        except Refused as refusal:  # its body did not come as it should
            context.reason, context.detail = refusal.reason, refusal.detail
            return refuse(context, start_response)

    return app
