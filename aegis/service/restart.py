"""Before a new image takes over: does it accept the configuration?"""

import os
import subprocess
import sys
from typing import Final

from aegis.config import load
from aegis.config.errors import ConfigErrors
from aegis.service.limits import count_of
from aegis.service.source import Source

PATIENCE: Final = 60.0
"""Seconds that a check may take: it resolves names."""


def check_new_image(source: Source) -> str:
    """Run the program as it is on disk now over the configuration; returns what is wrong, "" when all is right."""
    try:
        checked = subprocess.run(  # noqa: S603 - our own program
            check_arguments(source), stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if checked.returncode:
        return checked.stderr.decode(errors="replace").strip() or f"exit {checked.returncode}"
    return ""


def other_count(source: Source, workers: int) -> str:
    """Why a new image could not have the listeners of this one; "" when it can."""
    if not source.file:
        return ""
    try:
        wanted = count_of(load.load_file(source.file, os.environ))
    except ConfigErrors as errors:
        return str(errors)
    # The kernel deals clients out by the places of the listeners, which are those of this image.
    return "" if wanted == workers else f"server.workers is {workers} here and {wanted} there: stop and start Aegis"


def check_arguments(source: Source) -> list[str]:
    """The command that checks: the program as it is on disk now, over the configuration."""
    return [*program(), *(["check", "--config", source.file] if source.file else ["--version"])]


def program() -> list[str]:
    """How this program was started, without its own arguments."""
    own = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - own]]
