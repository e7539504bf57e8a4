# Whatever a developer does here. Everything that is installed goes into .venv, but for apt packages.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# setuptools' warning about editable installations, of folders named like the package: there is none here.
PIP := PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip
# More options for pytest: make test ARGS="-k digits -x"
ARGS ?=
# A test is a unit of its own but for those of one xdist_group; they start in the order of tests/conftest.py: fast first.
PYTEST = $(BIN)/pytest -n $(WORKERS) --dist loadgroup --no-loadscope-reorder $(ARGS)

.PHONY: help dev demo test test-fast lint types format wheel check bench bench-boards protocol docs view clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# Installed once, and again when the dependencies change.
$(BIN)/python:
	@PYTHON="$(PYTHON)" .ci/tools ensurepip
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "heddle: $(PYTHON) is older than 3.11; name a newer one: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@PYTHON=$(BIN)/python .ci/tools perl g++ libpython
	$(PIP) install -q -e '.[sim,build,run]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@.ci/tools 'iverilog?' 'ccache?' 'openFPGALoader?'
	@$(PIP) install -q --upgrade 'pip>=25.1' # the first that knows dependency groups
	$(PIP) install -q -e '.[sim,build,run]' --group dev
	@touch $@

dev: $(VENV)/installed-dev ## Install everything for development, with the checks before each commit
	$(BIN)/pre-commit install

demo: $(VENV)/installed ## Digits, from the network file to a bitstream for a small ECP5
	$(BIN)/python examples/digits/demo.py --output build/demo

test: lint types $(VENV)/installed-dev ## Lint, types and every test, the fast ones first
	$(PYTEST)

test-fast: $(VENV)/installed-dev ## The tests of a few seconds each
	$(PYTEST) -m "not slow"

lint: $(VENV)/installed-dev ## Style: ruff
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(VENV)/installed-dev view ## Types: pyright
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

format: $(VENV)/installed-dev ## Rewrite the source as `make lint` wants it
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

check: lint types test-fast ## What every commit passes

wheel: $(VENV)/installed-dev ## Build the wheel and run the fast tests against it instead of the source folders
	@rm -rf build/wheel build/lib # setuptools packs whatever an earlier build left in build/lib
	$(PIP) wheel -q --no-deps --wheel-dir build/wheel .
	$(PIP) install -q --no-deps --target build/wheel/site build/wheel/*.whl
	HEDDLE_UNDER_TEST=$(CURDIR)/build/wheel/site PYTHONPATH=$(CURDIR)/build/wheel/site $(PYTEST) -m "not slow"

bench: $(VENV)/installed-dev ## Cycles, areas and clocks of real networks, recorded in bench/results
	$(BIN)/python bench/estimates.py
	$(BIN)/python bench/run.py

bench-boards: $(VENV)/installed-dev ## Digits on every board; faults on the host link, real samples on a virtual board
	$(PIP) install -q -e '.[ice40,gowin]'
	$(BIN)/python bench/boards.py
	$(BIN)/python bench/link_faults.py
	$(BIN)/python bench/virtual.py

protocol: $(VENV)/installed ## The host link's tables in docs/protocol.md and its C header, from link/protocol.py
	$(BIN)/python -m heddle.link.reference

docs: $(VENV)/installed-dev ## Links, docstrings and examples in the documentation
	$(BIN)/pytest -q tests/test_docs.py

view: ## The source under its import names, for pyright and editors: build/view/heddle
	@mkdir -p build/view/heddle
	@ln -sfn $(CURDIR)/link $(CURDIR)/hdl $(CURDIR)/gen $(CURDIR)/sim $(CURDIR)/boards $(CURDIR)/host $(CURDIR)/cli build/view/heddle
	@ln -sf $(CURDIR)/gen/root/*.py $(CURDIR)/gen/root/py.typed build/view/heddle

clean: ## Remove what was built; .venv stays
	rm -rf build dist out sim_build .pytest_cache .ruff_cache .hypothesis .coverage*
	find $(filter-out $(VENV),$(wildcard *)) -name __pycache__ -prune -exec rm -rf {} +
