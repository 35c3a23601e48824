# Every target sets up the virtual environment it needs. Start with `make demo` or `make test`.
# The distribution's Python first: its builds are profile-guided, and one that is not serves a third less.
PYTHON ?= $(shell for python in /usr/bin/python3 python3; do \
	$$python -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)
VENV    := .venv
BIN     := $(VENV)/bin
CONFIG ?= aegis.yml
PATCHED := $(BIN)/python -m gevent.monkey --module
PYTEST := $(PATCHED) pytest
# Files side by side; they mostly wait, so one more than there are cores. JOBS=1: one file after the other.
JOBS   ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PYTEST_SIDE_BY_SIDE := $(BIN)/python -m pytest --dist loadfile --tx '$(JOBS)*popen//python=$(PATCHED) tests.support.xdist_worker'

# The tests start Aegis some hundred times: it is compiled once.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: install run run-headless demo test test-process test-compiled differential stress race under-load fuzz coverage \
	lint format check bench docs compiled compiler wheel build clean

install: $(VENV)/.run

run: $(VENV)/.run
	$(BIN)/aegis --config $(CONFIG)

run-headless: $(VENV)/.run
	$(BIN)/aegis --config $(CONFIG) --headless

demo: $(VENV)/.run
	$(BIN)/python scripts/demo.py

test: $(VENV)/.dev
	$(PYTEST_SIDE_BY_SIDE) -m "not stress and not process" $(ARGS)

# Starts many real processes; continuous integration runs it.
test-process: $(VENV)/.dev
	$(PYTEST_SIDE_BY_SIDE) -m process $(ARGS)

# make stress SECONDS=1800 SEED=7: mixed traffic while everything goes wrong (docs/reliability.md), and what else takes
# long under load. Python has no race detector: the race target is the stress suite.
stress race: SECONDS ?= 40
stress race: $(VENV)/.dev
	SECONDS=$(SECONDS) SEED=$(SEED) $(PYTEST) -m stress $(ARGS)

# What a reload, a restart, a stop and a kill cost under load: the table of docs/operations.md.
under-load: $(VENV)/.dev
	$(PATCHED) scripts.under_load

# make fuzz SECONDS=600: coverage-guided, all five targets in equal shares of the time.
fuzz: SECONDS ?= 600
fuzz: $(VENV)/.fuzz
	SECONDS=$(SECONDS) $(BIN)/python -m scripts.fuzz

# Branches of the pure rooms: what decides by values alone. Two minutes; fails under 95 % of any module.
coverage: $(VENV)/.dev
	$(BIN)/python -m scripts.coverage

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff format . && $(BIN)/ruff check --fix .

check: lint test

# build/compiled: the package with its hot path compiled by mypyc (docs/decisions/0008). Needs a C compiler and Python's
# headers (apt install gcc python3-dev).
compiled: build/compiled

compiler: $(VENV)/bin/python
	@command -v cc >/dev/null && $(BIN)/python -c 'import sys, sysconfig; from pathlib import Path; \
		sys.exit(not Path(sysconfig.get_path("include"), "Python.h").exists())' \
		|| { echo "a C compiler and Python's headers are needed: apt install gcc python3-dev"; exit 1; }

# A compiled wheel for this Python and machine, in dist/.
wheel: compiler $(VENV)/.dev
	rm -rf build/lib*
	AEGIS_COMPILE=1 $(BIN)/python -m build --wheel --no-isolation

# What the tests see of a running Aegis, with the compiled one: the process tests too.
test-compiled: build/compiled
	AEGIS_UNDER_TEST=$(CURDIR)/build/compiled $(PYTEST_SIDE_BY_SIDE) -m "not stress" tests/blackbox tests/tui tests/scripts \
		$(ARGS)

# make differential SEED=7 ROUNDS=2000: the same inputs and calls through both, interpreted and compiled.
differential: SEED ?= 1
differential: ROUNDS ?= 300
differential: build/compiled
	$(BIN)/python -m scripts.differential --seed $(SEED) --rounds $(ROUNDS) $(ARGS)

# make bench: short (up to 4 minutes); make bench LONG=1: every row and every peer.
bench: $(VENV)/.bench build/compiled
	$(BIN)/python -m scripts.bench $(if $(LONG),--long) $(ARGS)

# Tables and pictures in README and docs/, JSON Schema, man page, completions: whatever is derived from the source.
docs: $(VENV)/.dev
	$(BIN)/python -m scripts.documents

# dist/: an sdist and a wheel. The man page and the completions are in both.
build: $(VENV)/.dev
	$(BIN)/python -m scripts.documents && $(BIN)/python -m build

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz bench-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp per set of packages; each is remade when its list changes.
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer with venv is needed: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.run: requirements.txt setup.py | $(VENV)/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	@# pip compiles what it installs, but no editable package: whoever may not write here would compile at each start.
	$(BIN)/python -m compileall -q aegis
	touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

# A directory changes when a file in it is deleted.
build/compiled: setup.py pyproject.toml $(shell find aegis -name '*.py' -o -type d -not -name __pycache__) \
		| compiler $(VENV)/.dev
	rm -rf $@ $@.part
	AEGIS_COMPILE=1 $(BIN)/python setup.py --quiet build --build-base build --build-lib $@.part
	mv $@.part $@
	$(BIN)/python -m compileall -q $@
	touch $@

$(VENV)/.fuzz: requirements-fuzz.txt $(VENV)/.dev
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-fuzz.txt
	touch $@

$(VENV)/.bench: requirements-bench.txt $(VENV)/.run
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	touch $@
