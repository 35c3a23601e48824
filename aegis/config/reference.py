"""What is told about the configuration, all derived from the schema: JSON Schema, the README's table, `aegis check`."""

from typing import Any, Final

import msgspec
import yaml
from msgspec import inspect

from aegis.config.keys import Key, all_keys, keys_of, plain, section_of
from aegis.config.schema import BackendEntry, Config

BEGIN: Final = "<!-- configuration reference: generated from aegis/config/schema.py -->"
END: Final = "<!-- end of the configuration reference -->"

_REFERENCE: Final = r"\$\{"  # ${VAR} may stand for any value, so an editor must accept it
_DURATION: Final = r"^(0|(([0-9]+(\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|μs|ns))+)$"


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors. The rules between keys are not in it."""
    sections = {key.name: _section_schema(key) for key in keys_of(Config).values()}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Aegis configuration",
        "type": "object",
        "properties": sections,
        "required": ["backends"],
        "additionalProperties": False,
    }


def markdown_table() -> str:
    """The reference: one row per key with default, meaning, and whether a reload applies it."""
    rows = ["| Key | Default | Meaning | Change |", "|---|---|---|---|"]
    for path, key in all_keys():
        change = "restart" if key.restart else "live"
        rows.append(f"| `{path}` | {_default_words(path, key)} | {_cell(key.text)} | {change} |")
    return "\n".join(rows)


def with_reference(readme: str) -> str:
    """The text with the table of today between the two markers; ValueError where they are missing."""
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{markdown_table()}\n{END}{after}"


def dump(config: Config) -> str:
    """The effective configuration as YAML, every key spelled out; loading it again gives the same one."""
    tree: dict[str, Any] = {}
    for name in keys_of(Config):
        value = getattr(config, name)
        tree[name] = [_tree(entry) for entry in value] if isinstance(value, tuple) else _tree(value)
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=1_000)


def _tree(section: msgspec.Struct) -> dict[str, Any]:
    return {name: _escaped(plain(getattr(section, name))) for name in keys_of(type(section))}


def _escaped(value: Any) -> Any:
    if isinstance(value, list):
        return [_escaped(item) for item in value]
    return value.replace("$", "$$") if isinstance(value, str) else value


def _section_schema(key: Key) -> dict[str, Any]:
    struct, _ = section_of(key)
    keys = keys_of(struct)
    schema: dict[str, Any] = {
        "description": (struct.__doc__ or "").partition("\n")[0].partition(". ")[0].rstrip("."),
        "type": ["object", "null"],
        "properties": {name: _key_schema(item) for name, item in keys.items()},
        "additionalProperties": False,
    }
    if struct is not BackendEntry:
        return schema
    schema |= {"type": "object", "required": [name for name, item in keys.items() if item.required]}
    return {"type": "array", "minItems": 1, "items": schema, "description": "The pool"}


def _key_schema(key: Key) -> dict[str, Any]:
    text = f"{key.text} Needs a restart." if key.restart else key.text
    schema = {"description": text, **_type_schema(key.type)}
    return schema if key.required or key.default == "" else {**schema, "default": plain(key.default)}


def _type_schema(kind: inspect.Type) -> dict[str, Any]:
    match kind:
        case inspect.StrType():
            return {"type": "string"}
        case inspect.VarTupleType(item_type=item):
            return {"type": "array", "items": _type_schema(item)}
        case inspect.UnionType(types=options):
            exact = [_exact_schema(option) for option in options]
        case _:
            exact = [_exact_schema(kind)]
    return {"anyOf": [*exact, {"type": "string", "pattern": _REFERENCE}]}


def _exact_schema(kind: inspect.Type) -> dict[str, Any]:
    match kind:
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.LiteralType(values=values):
            return {"enum": list(values)}
        case inspect.IntType():
            return {"type": "integer", **_bounds(kind)}
        case inspect.FloatType():
            return {"type": "number", **_bounds(kind)}
    return {"type": "string", "pattern": _DURATION}


def _bounds(kind: inspect.IntType | inspect.FloatType) -> dict[str, Any]:
    named = {"minimum": kind.ge, "exclusiveMinimum": kind.gt, "maximum": kind.le, "exclusiveMaximum": kind.lt}
    return {name: plain(bound) for name, bound in named.items() if bound is not None}


def _default_words(path: str, key: Key) -> str:
    if key.required:
        return "required"
    if path == "backends[].name":
        return "host:port"
    return f"`{_words(plain(key.default))}`"


def _words(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(value)}]"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
