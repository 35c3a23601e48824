"""The completion scripts as `aegis completion` prints them."""

from click.shell_completion import get_completion_class

from aegis.cli import main


def completion(shell: str) -> str:
    """The script for one shell: bash, zsh or fish."""
    kind = get_completion_class(shell)
    if kind is None:
        raise ValueError(shell)
    return kind(main, {}, "aegis", "_AEGIS_COMPLETE").source() + "\n"
