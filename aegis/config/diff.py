"""Two configurations → what changed, apart by whether a reload applies it."""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from aegis.config.keys import all_keys, keys_of, plain
from aegis.config.schema import BackendEntry, Config


class Change(NamedTuple):
    """One changed key. A backend that came has `before` None, one that went has `after` None."""

    path: str
    before: object
    after: object

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.path}: added ({_words(self.after)})"
        if self.after is None:
            return f"{self.path}: removed ({_words(self.before)})"
        return f"{self.path}: {_words(self.before)} → {_words(self.after)}"


def compare(old: Config, new: Config) -> tuple[tuple[Change, ...], tuple[Change, ...]]:
    """The changes that apply live and those that need a restart, in the order of the schema.

    Backends are told apart by name, so a new order changes nothing and `backends[a:80].weight` is one key.
    """
    changes = [*_sections(old, new), *((change, False) for change in _backends(old, new))]
    live = tuple(change for change, restart in changes if not restart)
    return live, tuple(change for change, restart in changes if restart)


def carried(old: Config, new: Config) -> Config:
    """What is in force after a reload: the new configuration, with the old keys where they need a restart."""
    sections: dict[str, dict[str, object]] = {}
    for path, key in all_keys():
        section, _, name = path.partition(".")
        if key.restart:
            sections.setdefault(section, {})[name] = getattr(getattr(old, section), name)
    return replace(new, **{name: replace(getattr(new, name), **keys) for name, keys in sections.items()})


def _sections(old: Config, new: Config) -> Iterator[tuple[Change, bool]]:
    for path, key in all_keys():
        section, _, name = path.partition(".")
        if section.endswith("[]"):
            continue
        before, after = (getattr(getattr(config, section), name) for config in (old, new))
        if before != after:
            yield Change(path, before, after), key.restart


def _backends(old: Config, new: Config) -> Iterator[Change]:
    before = {backend.name: backend for backend in old.backends}
    after = {backend.name: backend for backend in new.backends}
    for name in {**before, **after}:
        was, becomes = before.get(name), after.get(name)
        if was is None or becomes is None:
            yield Change(f"backends[{name}]", was, becomes)
        else:
            for key in keys_of(BackendEntry):
                pair = getattr(was, key), getattr(becomes, key)
                if pair[0] != pair[1]:
                    yield Change(f"backends[{name}].{key}", *pair)


def _words(value: object) -> str:
    if isinstance(value, BackendEntry):
        return f"{value.url}, weight {value.weight}"
    if isinstance(value, str):
        return value or '""'
    if isinstance(value, bool):
        return str(value).lower()
    return str(plain(value))
