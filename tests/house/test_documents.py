"""What is told about the product is true: nothing generated is stale, nothing that users can meet is left out."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from aegis.cli import main
from aegis.config.keys import all_keys
from aegis.reasons import Reason
from scripts.documents import diagrams
from scripts.documents.__main__ import DOCUMENTS, section
from scripts.documents.marks import marks_of
from tests.house.tree import ROOT, sources

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
LAYERS = 8


def text_of(*pages: Path) -> str:
    return "\n".join(page.read_text() for page in pages)


def anchors(page: Path) -> set[str]:
    """The anchors that a page's headings get where it is shown."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_what_is_generated_is_current_run_make_docs(name):
    text = (ROOT / name).read_text()
    assert text == DOCUMENTS[name](text)


def test_a_section_is_replaced_between_its_lines_only():
    text = "before <!-- generated: x --> old <!-- end: x --> after"
    make = section("x", lambda: "new")
    assert make(text) == "before <!-- generated: x -->\nnew\n<!-- end: x --> after"
    assert make(make(text)) == make(text)
    with pytest.raises(ValueError):
        make("no lines")


def test_a_drawn_machine_has_every_transition_and_no_other():
    for module in diagrams.MACHINES.values():
        drawn = re.findall(r"^    (\w+) --> (\w+): (.+)$", diagrams.machine(module), re.MULTILINE)
        table = [
            (before.name.lower(), after.name.lower(), event.name.lower().replace("_", " "))
            for (before, event), after in module.TRANSITIONS.items()
        ]
        assert drawn == table


def test_every_table_of_transitions_is_drawn():
    with_tables = {module for module, path in sources().items() if "\nTRANSITIONS: Final = {" in path.read_text()}
    assert with_tables == {module.__name__ for module in diagrams.MACHINES.values()}


def test_every_configuration_key_is_documented():
    readme = (ROOT / "README.md").read_text()
    assert [path for path, _ in all_keys() if f"| `{path}` |" not in readme] == []


def test_every_key_that_a_page_names_exists():
    known = {path.replace("[]", "") for path, _ in all_keys()}
    sections = {path.partition(".")[0] for path in known}
    for page in PAGES:
        for name in re.findall(r"`([a-z_]+\.[a-z_]+)(?:: [^`]*)?`", page.read_text()):
            head, _, key = name.partition(".")
            if head in sections and key not in {"yml", "py", "file"}:
                assert name in known, f"{page.name}: {name}"


@pytest.mark.parametrize("name", [name for name, command in main.commands.items() if not command.hidden])
def test_every_command_is_in_the_readme_or_the_documentation(name):
    assert re.search(rf"\baegis {name}\b", text_of(*PAGES))
    assert f".SS aegis {name} " in (ROOT / "conf/man/aegis.1").read_text()


def test_every_option_is_in_the_man_page():
    manual = (ROOT / "conf/man/aegis.1").read_text().replace("\\-", "-")
    for command in (main, *main.commands.values()):
        for parameter in command.params:
            assert all(name in manual for name in (*parameter.opts, *parameter.secondary_opts) if name[0] == "-")


def test_every_reason_has_its_entry_in_troubleshooting_in_the_order_of_the_table():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    assert re.findall(r"^### `(\w+)`$", page, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_entry_of_a_refusal_says_what_client_and_log_show_and_what_to_change():
    page = (ROOT / "docs/troubleshooting.md").read_text()
    for entry in page.split("\n### ")[1:]:
        name, _, words = entry.partition("\n")
        if name not in {"`ok`", "`client_gone`"}:
            assert all(f"**{part}:**" in words for part in ("Client", "Log", "Change")), name


def test_every_security_mark_is_listed_and_every_layer_names_files_and_tests_that_exist():
    page = (ROOT / "docs/security.md").read_text()
    listed = re.findall(r"^\| (\w+) \| `(aegis/[\w/]+\.py)` \|", page, re.MULTILINE)
    assert listed == [(mark.name, mark.file) for mark in marks_of(ROOT)]
    count = sum(path.read_text().count("[SECURITY] ") for path in sources().values())
    assert len(listed) == count
    layers = re.split(r"^### \d\. ", page.partition("\n## The admin listener")[0], flags=re.MULTILINE)[1:]
    assert len(layers) == LAYERS
    for layer in layers:
        named = re.findall(r"`((?:aegis|tests)/[\w/.]*)`", layer)
        assert any(name.startswith("aegis/") for name in named), layer
        assert any(name.startswith("tests/layers/") for name in named), layer
        assert [name for name in named if not (ROOT / name).exists()] == []
        assert "Does not:" in layer


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_inside_the_repository_leads_somewhere(page):
    for target in LINK.findall(page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        goal = (page.parent / file).resolve() if file else page
        assert goal.exists(), target
        if anchor and goal.suffix == ".md":
            assert anchor in anchors(goal), target


@pytest.mark.skipif(shutil.which("man") is None, reason="man is not installed")
def test_the_man_page_is_free_of_faults():
    found = subprocess.run(
        ["man", "--warnings", "-l", "-Tutf8", str(ROOT / "conf/man/aegis.1")],
        env={"LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stderr == ""
    assert "AEGIS(1)" in found.stdout


def test_every_test_that_the_page_on_reliability_names_exists():
    page = (ROOT / "docs/reliability.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 50
    files = {file: (ROOT / file).read_text() for file, _ in named}
    assert [
        f"{file}::{name}" for file, name in named if not re.search(rf"^def {name}\(", files[file], re.MULTILINE)
    ] == []


def test_every_fault_names_a_test_and_what_was_measured():
    page = (ROOT / "docs/reliability.md").read_text().partition("\n## Coverage")[0]
    rows = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| ")]
    faults = [row for row in rows if row[0] != "fault"]
    assert len(faults) > 40
    assert [row[0] for row in faults if len(row) != 4 or "`tests/" not in row[2] or not row[3]] == []
