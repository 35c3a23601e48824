"""A file, a text or `--backend` arguments → Config, or all that is wrong with it at once. Opens nothing else."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from aegis.config.check import Fault, faults
from aegis.config.document import YamlError, parse
from aegis.config.errors import ConfigError, ConfigErrors
from aegis.config.keys import keys_of
from aegis.config.leaf import decode
from aegis.config.schema import BackendEntry, Config
from aegis.config.tree import MISSING_BACKENDS, Reading, read_config

_LARGEST_FILE: Final = 1_048_576
_WEIGHT: Final = re.compile(r"(.*)@([0-9]+)", re.ASCII | re.DOTALL)
_OPTION: Final = "--backend"


Rule = Callable[[Config], Iterable[Fault]]


def no_more(config: Config) -> Iterable[Fault]:
    """No rule beyond those of `check`."""
    del config
    return ()


def load_file(path: str, environ: Mapping[str, str], further: Rule = no_more) -> Config:
    """The configuration in the file; ConfigErrors for a file that cannot be read or is not right.

    further: a rule that is asked once the file is right in itself, for what only a look outside can tell.
    """
    return load_text(read_text(path), path, environ, further)


def read_text(path: str) -> str:
    """What is in the file; ConfigErrors for one that cannot be read."""
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_LARGEST_FILE + 1)
        if len(raw) > _LARGEST_FILE:
            raise _refused(path, 0, "is larger than 1 MiB, which no configuration is")
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _refused(path, line, "is not UTF-8 text; save it as UTF-8") from None
    except FileNotFoundError:
        raise _refused(path, 0, "no such file; name one with --config, or run without: --backend URL") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _refused(path, 0, f"cannot be read: {reason}") from None


def load_text(text: str, name: str, environ: Mapping[str, str], further: Rule = no_more) -> Config:
    """The configuration in the text, whose errors call it `name`; `further` as for load_file."""
    try:
        root = parse(text)
    except YamlError as fault:
        raise _refused(name, fault.line, str(fault)) from None
    if root is None:
        raise _refused(name, 0, f"is empty; `backends` {MISSING_BACKENDS}")
    reading = Reading(name, environ)
    config = read_config(root, reading)
    errors = reading.errors + [
        _located(fault, reading) for fault in faults(config) if all(map(reading.sound, (fault.path, *fault.others)))
    ]
    if not errors:
        errors = [_located(fault, reading) for fault in further(config)]
    if errors:
        raise ConfigErrors(errors)
    return config


def with_log_level(config: Config, level: str) -> Config:
    """The same configuration at another `logging.level`: the command line outlives the file."""
    return replace(config, logging=replace(config.logging, level=level))


def _located(fault: Fault, reading: Reading) -> ConfigError:
    line = _nearest_line(reading.lines, fault.path)
    return ConfigError(reading.file, line, fault.path, reading.texts.get(fault.path), fault.message)


def from_backends(specs: Sequence[str]) -> Config:
    """The configuration of `aegis --backend URL[@WEIGHT] …`: all else at its default, no networks opened yet.

    WEIGHT is the digits after the last `@`, cut off first, 1 unless given.
    """
    entries, errors = list[BackendEntry](), list[ConfigError]()
    weight = keys_of(BackendEntry)["weight"]
    for spec in specs:
        match = _WEIGHT.fullmatch(spec)
        try:
            share = decode(match[2], weight) if match else 1
        except ValueError as error:
            errors.append(ConfigError(_OPTION, 0, "", spec, f"the weight after the last @ {error}"))
            share = 1
        entries.append(BackendEntry(url=match[1] if match else spec, weight=share))
    config = Config(backends=tuple(entries))
    errors += [option_error(fault, specs) for fault in faults(config)]
    if errors:
        raise ConfigErrors(errors)
    return config


def with_networks(config: Config, networks: Iterable[str]) -> Config:
    """The same configuration with exactly these CIDRs in `security.allowed_backend_networks`."""
    return replace(config, security=replace(config.security, allowed_backend_networks=tuple(networks)))


def option_error(fault: Fault, specs: Sequence[str]) -> ConfigError:
    """The fault of a configuration made by `from_backends`, told by the option it came from."""
    index = re.match(r"backends\[(\d+)\]", fault.path)
    return ConfigError(_OPTION, 0, "", specs[int(index[1])] if index else None, fault.message)


def _nearest_line(lines: Mapping[str, int], path: str) -> int:
    """The line of the key, else of what it stands in: a default that breaks a rule has no line of its own."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path, 0)


def _refused(file: str, line: int, message: str) -> ConfigErrors:
    return ConfigErrors([ConfigError(file, line, "", None, message)])
