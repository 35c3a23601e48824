"""`${VAR}` in a value, after YAML has been parsed, so that what a variable holds can never become structure."""

import re
from collections.abc import Mapping
from typing import Final

_TOKEN: Final = re.compile(r"\$\$|\$\{([^}]*)(\}?)")
_INSIDE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-|:\?)(.*))?", re.ASCII | re.DOTALL)


def interpolate(text: str, environ: Mapping[str, str]) -> str:
    """The text with `${VAR}`, `${VAR:-default}`, `${VAR:?message}` filled in and `$$` turned into `$`.

    As in a shell, `:-` and `:?` treat an empty variable like an unset one. A `$` before anything else stays. What a
    variable holds is not looked at again. ValueError: unset without a default, or not one of these forms.
    """
    return _TOKEN.sub(lambda match: _replacement(match, environ), text)


def _replacement(match: re.Match[str], environ: Mapping[str, str]) -> str:
    if match[0] == "$$":
        return "$"
    inside = _INSIDE.fullmatch(match[1])
    if not match[2] or inside is None or "${" in match[1]:
        raise ValueError(
            f"{match[0]} is none of ${{VAR}}, ${{VAR:-default}}, ${{VAR:?message}}; write $$ for a plain $"
        )
    name, operator, operand = inside.groups()
    value = environ.get(name)
    if operator is None and value is None:
        raise ValueError(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
    if operator is None or value:
        return value or ""
    if operator == ":?":
        raise ValueError(operand or f"the environment variable {name} must be set")
    return str(operand).replace("$$", "$")
