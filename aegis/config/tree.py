"""Node tree → Config, by walking the schema beside it, so that every fault is found in one run and has its line."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import msgspec
from msgspec import inspect
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from aegis.config.document import is_null, line_of
from aegis.config.errors import ConfigError
from aegis.config.interpolate import interpolate
from aegis.config.keys import Key, keys_of, section_of
from aegis.config.leaf import decode, expected
from aegis.config.schema import BackendEntry, Config

# [SECURITY] BoundedAliases: 400 bytes of nested aliases unfold to hours of work; no honest file holds this many values.
MOST_VALUES: Final = 20_000
_YAML: Final = "tag:yaml.org,2002:"
_KINDS: Final = ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "map", "seq")
_TAGS: Final = frozenset(_YAML + kind for kind in _KINDS)
MISSING_BACKENDS: Final = "is required; list at least one, such as {url: http://localhost:8081, weight: 1}"
_MISSING: Final = {
    "backends": MISSING_BACKENDS,
    "url": "is required; write the backend's address, such as http://localhost:8081",
    "weight": "is required; write its share of the requests, such as 1, or 0 for none",
}


@dataclass(slots=True)
class Reading:
    """What is known of one file while it is read: where each key stood, what it said, and all faults so far.

    A key with a fault is in `bad` and has its default in the Config, so that the rules between keys can still be
    checked; whoever checks them skips what is in `bad`.
    """

    file: str
    environ: Mapping[str, str]
    lines: dict[str, int] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    bad: set[str] = field(default_factory=set)
    errors: list[ConfigError] = field(default_factory=list)
    values: int = 0

    def fault(self, path: str, line: int, message: str, value: str | None = None) -> None:
        """Note a fault of the key at `path`."""
        self.bad.add(path)
        self.errors.append(ConfigError(self.file, line, path, value, message))

    def count(self) -> bool:
        """False once the file unfolds to more values than any honest one."""
        self.values += 1
        if self.values == MOST_VALUES:
            self.fault("", 0, f"unfolds to more than {MOST_VALUES} values; remove the nested aliases")
        return self.values < MOST_VALUES

    def sound(self, path: str) -> bool:
        """False for a key at fault and for all that stands below one."""
        while path and path not in self.bad:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return not path


def read_config(root: MappingNode, reading: Reading) -> Config:
    """The Config, with defaults in place of what is missing or at fault; the faults are in `reading`."""
    return Config(**_values(root, Config, "", reading))


def _values(node: MappingNode, struct: type[msgspec.Struct], path: str, reading: Reading) -> dict[str, Any]:
    keys = keys_of(struct)
    values: dict[str, Any] = {}
    for name, value in _entries(node, keys, path, reading):
        where = f"{path}.{name}" if path else name
        reading.lines[where] = line_of(value)
        decoded = _value(value, keys[name], where, reading)
        if where not in reading.bad:
            values[name] = decoded
    for key in keys.values():
        if key.required and key.name not in values:
            where = f"{path}.{key.name}" if path else key.name
            if where not in reading.bad:
                reading.fault(where, line_of(node), _MISSING[key.name])
            values[key.name] = _harmless(key.type)
    return values


def _entries(node: MappingNode, keys: Mapping[str, Key], path: str, reading: Reading) -> Iterator[tuple[str, Node]]:
    """The known keys with their nodes; unknown and repeated ones are noted as faults."""
    seen: dict[str, int] = {}
    for name_node, value in node.value:
        if not reading.count():
            return
        name = name_node.value if isinstance(name_node, ScalarNode) else "?"
        where, line = f"{path}.{name}" if path else name, line_of(name_node)
        if name in seen:
            reading.fault(where, line, f"is there twice, first on line {seen[name]}; remove one")
        elif name not in keys:
            reading.fault(where, line, f"unknown key; {_suggestion(name, keys)}")
        else:
            seen[name] = line
            yield name, value


def _suggestion(name: str, keys: Mapping[str, Key]) -> str:
    homes = [section for section, key in keys_of(Config).items() if name in keys_of(section_of(key)[0])]
    close = difflib.get_close_matches(name, keys, n=1)
    if len(homes) == 1 and ("server" in keys or not close):  # at the top level an exact name below beats a similar one
        return f"did you mean {homes[0]}.{name}?"
    if close:
        return f"did you mean {close[0]}?"
    return f"known here: {', '.join(keys)}"


def _value(node: Node, key: Key, path: str, reading: Reading) -> Any:
    """The decoded value; where there is none, the fault is noted and something harmless comes back."""
    line = line_of(node)
    if node.tag not in _TAGS:
        reading.fault(path, line, f"must not have a tag; remove {node.tag.replace(_YAML, '!!')}")
    elif isinstance(key.type, inspect.StructType):
        return _section(node, key.type.cls, path, reading)
    elif is_null(node):
        hint = _MISSING.get(key.name) or f"must be {expected(key)}; give it a value or remove the key"
        reading.fault(path, line, hint)
    elif isinstance(key.type, inspect.VarTupleType):
        if isinstance(node, SequenceNode):
            return _items(node, key, key.type.item_type, path, reading)
        reading.fault(path, line, f"must be {expected(key)}, not {_kind(node)}", _text(node))
    elif isinstance(node, ScalarNode):
        return _leaf(node, key, path, reading)
    else:
        reading.fault(path, line, f"must be {expected(key)}, not {_kind(node)}")
    return _harmless(key.type)


def _section(node: Node, struct: type[msgspec.Struct], path: str, reading: Reading) -> Any:
    if isinstance(node, MappingNode):
        return struct(**_values(node, struct, path, reading))
    if not is_null(node) or struct is BackendEntry:
        names = ", ".join(keys_of(struct))
        reading.fault(path, line_of(node), f"must be a mapping with the keys {names}, not {_kind(node)}", _text(node))
    return _harmless(inspect.type_info(struct))  # a section whose keys are all commented out is all default


def _items(node: SequenceNode, key: Key, kind: inspect.Type, path: str, reading: Reading) -> tuple[Any, ...]:
    item = replace(key, type=kind)
    found = []
    for index, child in enumerate(node.value):
        if not reading.count():
            break
        where = f"{path}[{index}]"
        reading.lines[where] = line_of(child)
        found.append(_value(child, item, where, reading))  # one at fault too, or the indices would shift
    return tuple(found)


def _leaf(node: ScalarNode, key: Key, path: str, reading: Reading) -> Any:
    text = node.value
    try:
        text = reading.texts[path] = interpolate(node.value, reading.environ)
        return decode(text, key)
    except ValueError as error:
        reading.fault(path, line_of(node), str(error), text)
        return _harmless(key.type)


def _harmless(kind: inspect.Type) -> Any:
    """Something of about the right kind to go on with; it is never used, since a fault has been noted."""
    match kind:
        case inspect.StructType(cls=cls) if cls is BackendEntry:
            return BackendEntry(url="", weight=1)
        case inspect.StructType(cls=cls):
            return cls()
        case inspect.VarTupleType():
            return ()
        case inspect.IntType():
            return 1
    return ""


def _kind(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return "nothing" if is_null(node) else "a value"
    return "a list" if isinstance(node, SequenceNode) else "a mapping"


def _text(node: Node) -> str | None:
    return node.value if isinstance(node, ScalarNode) and not is_null(node) else None
