"""`make fuzz SECONDS=600`: every target under atheris, coverage-guided, one after the other in equal shares.

Prints executions, corpus size and findings. A finding is kept in the corpus folder as `TARGET-crash-…`; its minimal
form belongs into tests/cases or a test.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CORPUS = ROOT / ".fuzz"
SLOWEST = 60  # seconds that one input may take; at low priority on a busy machine a few pass with nothing done
LARGEST = {"config": 4096}


def fuzz(name: str, arguments: list[str]) -> None:
    """In a process of its own, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["aegis.http1", "aegis.security", "aegis.config"]):
        from tests.fuzz.targets import TARGETS
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


def prepare(name: str) -> Path:
    """The folder of a target's corpus, with its seeds in it."""
    from tests.fuzz.targets import seeds, words

    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (folder / f"seed-{number}").write_bytes(data)
    lines = ('"{}"'.format("".join(f"\\x{byte:02x}" for byte in word)) for word in sorted(words()))
    (CORPUS / "words").write_text("\n".join(lines) + "\n")
    return folder


def run(name: str, seconds: int) -> str:
    """Fuzz one target in a child; a line of what came of it."""
    folder = prepare(name)
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={SLOWEST}",
        f"-report_slow_units={SLOWEST}",
        f"-max_len={LARGEST.get(name, 2048)}",
    ]
    files = [f"-dict={CORPUS / 'words'}", f"-artifact_prefix={CORPUS}/{name}-", str(folder)]
    command = [sys.executable, "-m", "scripts.fuzz", name, *limits, "-print_final_stats=1", *files]
    with (CORPUS / f"{name}.log").open("wb") as log:
        code = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, check=False, env=os.environ).returncode
    told = (CORPUS / f"{name}.log").read_text(errors="replace")
    executed = re.findall(r"stat::number_of_executed_units: (\d+)", told) or re.findall(r"^#(\d+)", told, re.MULTILINE)
    findings = sorted(path.name for path in CORPUS.glob(f"{name}-*"))
    count = len(list(folder.iterdir()))
    words = ", ".join(findings) if findings else ("none" if code == 0 else f"exit {code}, see {CORPUS / name}.log")
    return f"{name:10} {int(executed[-1]) if executed else 0:>10,} executions  corpus {count:>6,}  findings: {words}"


def main() -> int:
    seconds = int(os.environ.get("SECONDS", "600"))
    from tests.fuzz.targets import TARGETS

    print(f"fuzzing {len(TARGETS)} targets for {seconds} s in all; corpus in {CORPUS}", flush=True)
    lines = []
    for name in TARGETS:
        lines.append(run(name, max(1, seconds // len(TARGETS))))
        print(lines[-1], flush=True)
    return 0 if all(line.endswith("findings: none") for line in lines) else 1


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fuzz(sys.argv[1], sys.argv[2:])
    else:
        sys.exit(main())
