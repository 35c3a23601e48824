"""Backends vetted by what the configuration opens: all before a start, one by one when a name is looked up again."""

from collections.abc import Sequence

from aegis.config.check import Fault, is_own_listener
from aegis.config.schema import BackendEntry, Config
from aegis.pool.backend import Backend
from aegis.pool.repin import LookUp
from aegis.security.addresses import Network, networks_opened_for
from aegis.transport.resolver import Address, Resolve, VettingError, system_resolve, vet


def vet_backends(config: Config, resolve: Resolve = system_resolve) -> tuple[list[Backend], list[Fault]]:
    """(the backends with their vetted addresses, every backend that may not be connected to)."""
    networks = config.security.backend_networks
    backends, faults = [], list[Fault]()
    for index, entry in enumerate(config.backends):
        try:
            backends.append(_vet(entry, config, networks, resolve))
        except VettingError as error:
            faults.append(Fault(f"backends[{index}].url", str(error)))
    return backends, faults


def networks_of(config: Config, resolve: Resolve = system_resolve) -> tuple[str, ...]:
    """The networks that the backends' own addresses need opened; what cannot be resolved is left for vetting to say."""
    addresses = list[str]()
    for entry in config.backends:
        try:
            addresses += [address for _, address in resolve(entry.host, entry.port)]
        except (OSError, UnicodeError):
            continue
    return networks_opened_for(addresses)


def _vet(entry: BackendEntry, config: Config, networks: Sequence[Network], resolve: Resolve) -> Backend:
    # [SECURITY] StartupValidation: every backend is vetted before a port is opened.
    addresses = _addresses(entry.host, entry.port, config, networks, resolve)
    return Backend(entry.name, entry.scheme, entry.host, entry.port, entry.weight, addresses)


def _addresses(
    host: str, port: int, config: Config, networks: Sequence[Network], resolve: Resolve
) -> tuple[Address, ...]:
    """The vetted addresses of a backend, at start as later. Raises VettingError."""
    loopback = config.development.allow_loopback_backends
    addresses = vet(host, port, resolve, allow_loopback=loopback, networks=networks)
    if is_own_listener(config.server.host, config.server.port, [each.host for each in addresses], port):
        raise VettingError("resolves to our own listener: requests would go round in a circle; use another port")
    return addresses


def look_up_by(config: Config, resolve: Resolve = system_resolve) -> LookUp:
    """What looks a running backend's name up again, by the rules of this configuration."""
    networks = config.security.backend_networks

    def look_up(backend: Backend) -> tuple[Address, ...] | VettingError:
        try:
            return _addresses(backend.host, backend.port, config, networks, resolve)
        except VettingError as error:
            return error

    return look_up
