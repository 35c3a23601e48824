"""The balancing policies by their names in the configuration."""

from collections.abc import Callable, Mapping
from typing import Final

from aegis.config.schema import Balancing
from aegis.pool.backends import Backends
from aegis.pool.balancer import Policy, WeightedRoundRobin
from aegis.pool.least_connections import LeastConnections
from aegis.pool.peak_ewma import PowerOfTwo

POLICIES: Final[Mapping[str, Callable[[Backends], Policy]]] = {
    "weighted_round_robin": WeightedRoundRobin,
    "least_connections": LeastConnections,
    "peak_ewma": PowerOfTwo,
}


def policy_of(section: Balancing, backends: Backends) -> Policy:
    """A fresh policy over these backends. What another one had them tell it, they tell nobody any more."""
    backends.tell_nobody()
    return POLICIES[section.policy](backends)
