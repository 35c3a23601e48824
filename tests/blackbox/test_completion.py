"""What the Tab key offers: the program's own answer to each shell, and bash itself at a terminal."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.aegis_process import ROOT, environment
from tests.support.terminal import TerminalProcess

pytestmark = pytest.mark.process

PROGRAM = Path(sys.executable).with_name("aegis")


def offered(shell, *words):
    """What the program tells the shell when Tab is pressed at the end of the last word."""
    line = {"COMP_WORDS": shlex.join(words), "COMP_CWORD": str(len(words) - 1)}
    if shell == "fish":
        line["COMP_CWORD"] = words[-1]
    done = subprocess.run(
        [PROGRAM], env=environment({**line, "_AEGIS_COMPLETE": f"{shell}_complete"}), cwd=ROOT,
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("shell", "answer"), [("bash", ["file,ae"]), ("zsh", ["file", "ae", "_"]), ("fish", ["file,ae"])]
)
@pytest.mark.parametrize("words", [("--config", "ae"), ("-c", "ae"), ("check", "--config", "ae")])
def test_behind_config_every_shell_is_told_to_complete_file_names(shell, answer, words):
    assert [line for line in offered(shell, "aegis", *words) if line] == answer


@pytest.fixture
def bash(tmp_path):
    """An interactive one that knows our completion, in a directory with one file."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a_very_special.yml").touch()
    script = tmp_path / "rc"
    script.write_text(
        f"PATH={shlex.quote(str(PROGRAM.parent))}:$PATH; PS1='ready$ '; unset HISTFILE\n"
        f"source <(aegis completion bash)\ncd {shlex.quote(str(tmp_path / 'files'))}\n"
    )
    paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with TerminalProcess(["bash", "--noprofile", "--rcfile", str(script), "-i"], env=paths, errors=False) as terminal:
        terminal.shows("ready$ ")
        yield terminal


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("aegis --config a_v", "aegis --config a_very_special.yml"),
        ("aegis check --config a_v", "aegis check --config a_very_special.yml"),
        ("aegis --config ", "aegis --config a_very_special.yml"),
        ("aegis simul", "aegis simulate"),
        ("aegis --log-level w", "aegis --log-level warn"),
    ],
)
def test_tab_in_bash_completes_file_names_commands_and_values(bash, typed, completed):
    bash.type(typed + "\t")
    bash.shows(completed)
