"""Before a new image takes over: does it accept the configuration?"""

import subprocess
import sys
from typing import Final

from aegis.service.source import Source

PATIENCE: Final = 60.0
"""Seconds that a check may take: it resolves names."""


def check_new_image(source: Source) -> str:
    """Run the program as it is on disk now over the configuration; returns what is wrong, "" when all is right."""
    arguments = ["check", "--config", source.file] if source.file else ["--version"]
    try:
        checked = subprocess.run(  # noqa: S603 - our own program
            [*program(), *arguments], stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    if checked.returncode:
        return checked.stderr.decode(errors="replace").strip() or f"exit {checked.returncode}"
    return ""


def program() -> list[str]:
    """How this program was started, without its own arguments."""
    own = len(sys.argv) - 1
    return [sys.executable, *sys.orig_argv[1 : len(sys.orig_argv) - own]]
