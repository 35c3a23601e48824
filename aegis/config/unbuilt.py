"""Settings that are parsed and checked, but whose feature does not exist yet. Whoever delivers one removes its name."""

from typing import Final

from aegis.config.schema import Config

NOT_BUILT: Final[tuple[str, ...]] = ()


def unbuilt_in(config: Config) -> list[str]:
    """The sections and keys of `NOT_BUILT` on which this configuration counts, for the one WARNING at start."""
    defaults = Config(backends=config.backends)
    return [name for name in NOT_BUILT if _counts_on(config, defaults, name)]


def _counts_on(config: Config, defaults: Config, name: str) -> bool:
    setting, default = _setting(config, name), _setting(defaults, name)
    return setting != default


def _setting(config: Config, name: str) -> object:
    section, _, key = name.partition(".")
    found = getattr(config, section)
    return getattr(found, key) if key else found
