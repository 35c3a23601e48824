"""The one place that knows what runs: the version, and whether its hot path is compiled."""

from importlib.util import find_spec

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether what runs for every request is C (docs/decisions/0008) or interpreted."""
    spec = find_spec("aegis.context")
    return spec is not None and not (spec.origin or "").endswith(".py")
