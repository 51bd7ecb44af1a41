# Each does all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test quick check prove soak bench docs clean

demo: $(VENV)/installed
	@$(BIN)/processor demo

test: $(VENV)/installed-dev check
	$(BIN)/pytest

# In less than two minutes: what needs no broker and no other process, and 200 seeds.
quick: $(VENV)/installed-dev check
	$(BIN)/pytest tests/core tests/codec tests/store tests/shard tests/workflow tests/activities \
		tests/replay tests/test_surface.py tests/test_tidy.py
	$(BIN)/python -m tests.simulation.prove --seeds 200

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The proof by simulation: SEEDS=200 plays fewer, FIRST=10000 others, BUDGET=3600 for an hour.
SEEDS ?= 10000
FIRST ?= 0
prove: $(VENV)/installed-dev
	$(BIN)/python -m tests.simulation.prove --seeds $(SEEDS) --first $(FIRST) \
		$(if $(BUDGET),--budget $(BUDGET))

# Real processes under all faults at random; MINUTES=10 for less than an hour.
MINUTES ?= 60
soak: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

# SMOKE=1, FSYNC=1, SYSTEMS="...", WORKLOADS="...": see benchmarks/compare.py.
bench: $(VENV)/installed-bench
	@$(BIN)/python -m benchmarks.compare

# The site: build/docs/index.html. A warning is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs

clean:
	rm -rf $(VENV) build processor-state .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| (echo "processor needs Python 3.11 or later: run make PYTHON=python3.11"; exit 1)
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,thirdparty]'
	@touch $@ $(VENV)/installed

$(VENV)/installed-bench: pyproject.toml | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/installed
