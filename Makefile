# The first call builds .venv from the lock files, later calls find it ready; nothing else has to be installed.
#   make train      train the methods on the digits and compare them
#   make test       the tests, without the slow ones (make test-all: all of them, and the quick cases of reference)
#   make lint types layers wheel    the other checks; make format mends what it can
#   make bench-peers    the libraries that the benchmarks compare with, in an environment of their own
#   make lock       pin anew after a change of the dependencies
#   make clean      remove what these targets made
# The environment is made with uv where it is installed, else with python3's venv and pip.

PYTHON ?= python3
UV     := $(shell command -v uv 2>/dev/null)
ARGS   ?=

VENV := .venv
BIN  := $(VENV)/bin
PEERS := benchmarks/peers/.venv

ifneq ($(UV),)
make_venv   = $(UV) venv --quiet --python '$(PYTHON)' $(VENV)
pip_install = @$(UV) pip install --quiet --python $(BIN)/python
else
make_venv   = $(PYTHON) -m venv $(VENV)
# An environment that uv made has no pip.
pip_install = @$(BIN)/python -c 'import pip' 2>/dev/null || $(BIN)/python -m ensurepip >/dev/null; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

.PHONY: train install install-dev test test-all lint format types layers wheel bench-peers lock clean

train: install
	$(BIN)/pnn compare examples/digits.toml $(ARGS)

install: $(VENV)/.installed

install-dev: $(VENV)/.installed-dev

test: install-dev
	$(BIN)/python -m pytest -m "not slow" $(ARGS)

test-all: install-dev
	$(BIN)/python -m pytest $(ARGS)
	$(BIN)/pnn reference run --quick

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install-dev
	$(BIN)/mypy

layers: install-dev
	$(BIN)/lint-imports

wheel: install-dev
	rm -rf dist
	$(BIN)/python -m build --wheel --no-isolation

bench-peers: $(PEERS)/.locked

# Keeps the pins that still fit; make lock ARGS=--upgrade takes the newest of everything.
compile = pip compile pyproject.toml --quiet --universal --fork-strategy fewest --python-version 3.11 \
	--generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make lock"
lock:
ifneq ($(UV),)
	$(UV) $(compile) $(ARGS) --output-file requirements.lock
	$(UV) $(compile) $(ARGS) --group dev --constraint requirements.lock --output-file requirements-dev.lock
else
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(MAKE) lock UV=.venv-lock/bin/uv ARGS='$(ARGS)'
	rm -rf .venv-lock
endif

clean:
	rm -rf $(VENV) $(PEERS) .venv-lock dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find physics algorithms orchestrator tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

# The stamps: older than their lock file means that it is installed anew, and so does a Python that is gone.
$(shell test -x $(BIN)/python || rm -f $(VENV)/.locked $(VENV)/.installed $(VENV)/.installed-dev)
$(shell test -x $(PEERS)/bin/python || rm -f $(PEERS)/.locked)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "This needs Python 3.11 or newer, but '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)." >&2; \
	  echo "Name a newer one, for example: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(make_venv)

$(VENV)/.locked: requirements.lock | $(BIN)/python
	@echo "Installing the locked packages into $(VENV) (some 300 MB, once) ..."
	$(pip_install) --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml
	$(pip_install) --no-deps --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing the tools of development ..."
	$(pip_install) --require-hashes -r requirements-dev.lock
	@touch $@

# Always by pip: its configuration says where the CPU build of torch is found. The lock is complete, so --no-deps.
$(PEERS)/.locked: benchmarks/peers/requirements.lock
	@echo "Installing the peers of the benchmarks into $(PEERS) (some 2 GB, once) ..."
	@test -x $(PEERS)/bin/python || $(PYTHON) -m venv $(PEERS)
	@$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(ARGS) -r $<
	@touch $@
