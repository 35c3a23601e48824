"""`--set adaptive.KEY=VALUE` of the command line → values of that section, or all that is wrong with them."""

import difflib
from collections.abc import Collection, Sequence
from typing import Any, Final

from aegis.config.errors import ConfigError, ConfigErrors
from aegis.config.keys import keys_of
from aegis.config.leaf import decode
from aegis.config.schema import Adaptive

_OPTION: Final = "--set"
_SECTION: Final = "adaptive."


def adaptive_values(specs: Sequence[str], settable: Collection[str]) -> dict[str, Any]:
    """The values by key, each decoded as the file's would be. settable: the keys of `adaptive` that may be given.

    Raises ConfigErrors.
    """
    values, errors = dict[str, Any](), list[ConfigError]()
    for spec in specs:
        path, equals, text = spec.partition("=")
        name = path.removeprefix(_SECTION)
        if not equals:
            errors.append(ConfigError(_OPTION, 0, "", spec, "must be adaptive.KEY=VALUE"))
        elif path == name or name not in settable:
            errors.append(ConfigError(_OPTION, 0, path, None, _suggestion(name, settable)))
        else:
            try:
                values[name] = decode(text, keys_of(Adaptive)[name])
            except ValueError as error:
                errors.append(ConfigError(_OPTION, 0, path, text, str(error)))
    if errors:
        raise ConfigErrors(errors)
    return values


def _suggestion(name: str, settable: Collection[str]) -> str:
    if name in keys_of(Adaptive) and name not in settable:
        return f"has no part in a decision; settable: {', '.join(settable)}"
    close = difflib.get_close_matches(name.rpartition(".")[2], settable, n=1)
    if close:
        return f"unknown key; did you mean {_SECTION}{close[0]}?"
    return f"unknown key; settable, after {_SECTION}: {', '.join(settable)}"
