"""May this failure be tried again? Pure."""

from aegis.context import RequestContext
from aegis.reasons import BackendError, Replay

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})


def may_replay(context: RequestContext, failure: BackendError) -> bool:
    """Whether the one replay is safe: an idempotent request without body that died with its pooled connection.

    A request of which a body byte was taken, or a response byte came, is never sent twice.
    """
    return (
        failure.replay is Replay.FRESH_CONNECTION
        and context.attempts == 1
        and context.body is None
        and context.method in IDEMPOTENT
    )
