"""May this failure be tried again? Pure."""

from aegis.context import RequestContext
from aegis.reasons import BackendError, Replay

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def may_retry(context: RequestContext, failure: BackendError, *, replayed: bool) -> bool:
    """Whether trying again is safe after this failure. replayed: it was the one replay that failed.

    A failed connect may always go to another backend: nothing was sent, and the first piece of a body is still in
    hand. A connection that failed before any answer allows one replay, of an idempotent request without body: a
    request of which a body byte was sent, or a response byte came, is never sent twice.
    """
    if failure.replay is Replay.ANOTHER_BACKEND:
        return True
    return (
        failure.replay is Replay.FRESH_CONNECTION
        and not replayed
        and context.body is None
        and context.method in IDEMPOTENT
    )
