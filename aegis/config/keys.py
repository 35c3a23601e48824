"""The schema seen as data: what decoding, the reference, the JSON Schema and the comparison walk over."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, Final

import msgspec
from msgspec import inspect

from aegis.config.duration import Duration
from aegis.config.schema import Config

BOOLEANS: Final = MappingProxyType(
    {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False},
)  # YAML 1.1's spellings, since editors still colour them so


@dataclass(frozen=True, slots=True)
class Key:
    """One key of a section. `default` is msgspec.NODEFAULT where the key is required."""

    name: str
    type: inspect.Type
    default: Any
    text: str
    restart: bool
    least: str

    @property
    def required(self) -> bool:
        """True if a file must name it."""
        return self.default is msgspec.NODEFAULT


@cache
def keys_of(struct: type[msgspec.Struct]) -> Mapping[str, Key]:
    """The keys of a section, in the order of the schema."""
    described = inspect.type_info(struct)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - for the type checker
    return MappingProxyType({field.name: _key(field) for field in described.fields})


def all_keys() -> Iterator[tuple[str, Key]]:
    """Every leaf of the file with its path, backends as `backends[].url`."""
    for section in keys_of(Config).values():
        struct, prefix = section_of(section)
        for key in keys_of(struct).values():
            yield f"{prefix}.{key.name}", key


def section_of(key: Key) -> tuple[type[msgspec.Struct], str]:
    """The class behind a top-level key, and how paths into it begin."""
    if isinstance(key.type, inspect.VarTupleType):
        item = key.type.item_type
        assert isinstance(item, inspect.StructType)  # noqa: S101 - backends is the only list of sections
        return item.cls, f"{key.name}[]"
    assert isinstance(key.type, inspect.StructType)  # noqa: S101 - all other top-level keys are sections
    return key.type.cls, key.name


def plain(value: object) -> Any:
    """A setting as YAML and JSON write it: durations as text, whole floats as integers, tuples as lists."""
    if isinstance(value, Duration):
        return str(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


def _key(field: inspect.Field) -> Key:
    kind, extra, description = field.type, dict[str, Any](), ""
    while isinstance(kind, inspect.Metadata):
        extra = {**(kind.extra or {}), **extra}
        description = description or (kind.extra_json_schema or {}).get("description", "")
        kind = kind.type
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return Key(field.name, kind, default, description, extra.get("restart", False), extra.get("least", ""))
