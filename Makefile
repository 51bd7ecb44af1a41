# Each does all the set-up: `make demo` runs the main job, `make test` passes the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-kafka test-brokers test-others quick quick-values quick-runs quick-seeds check prove steps kills many \
	soak million versions nightly bench docs clean

demo: $(VENV)/installed
	@$(BIN)/processor demo

# The tests in three parts at a time, of which each takes about as long: those of the adapters on one
# broker that they share; the last of them, with those on brokers that they start and break, and of
# the commands on a broker; all others. The first two wait a lot, and know what is too late: what is
# simulated knows no time, and takes what they leave.
test: check
	@$(MAKE) --no-print-directory -j3 test-kafka test-brokers test-others

test-kafka: $(VENV)/installed-dev
	$(BIN)/pytest tests/kafka -m "not own_broker" --ignore-glob='tests/kafka/test_[t-z]*'

test-brokers: $(VENV)/installed-dev
	$(BIN)/pytest -m own_broker
	$(BIN)/pytest -m "kafka and not own_broker" --ignore-glob='tests/kafka/test_[a-s]*'

test-others: $(VENV)/installed-dev
	$(BIN)/pytest -m "not kafka" --ignore=tests/simulation; failed=$$?; \
		nice -n 19 $(BIN)/pytest tests/simulation && exit $$failed

# In less than two minutes: what needs no broker and no other process and is not slow, and 200 seeds.
quick: $(VENV)/installed-dev
	@$(MAKE) --no-print-directory -j2 quick-values quick-runs check quick-seeds

QUICK = $(BIN)/pytest -m "not slow and not kafka"

quick-values: $(VENV)/installed-dev
	$(QUICK) tests/core tests/codec tests/store tests/replay tests/views/test_language.py \
		tests/views/test_rows.py tests/api/test_openapi.py tests/test_surface.py tests/test_tidy.py

quick-runs: $(VENV)/installed-dev
	$(QUICK) tests/shard tests/workflow tests/activities tests/embedded/test_entities.py \
		tests/embedded/test_disk.py

quick-seeds: $(VENV)/installed-dev
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

# A crash at every step, cleaners that stop at every record, and how soon each mutation is caught.
steps: $(VENV)/installed-dev
	EVERY_STEP=1 EVERY_MOMENT=1 STORIES=1000 $(BIN)/pytest --timeout=7200 \
		tests/simulation/test_crash_at_every_step.py tests/simulation/test_cleaned_logs.py
	$(BIN)/python -m tests.simulation.test_mutations

# Parents, children and updates on three processes that are killed for a minute.
kills: $(VENV)/installed-dev
	KILLED_S=60 $(BIN)/pytest --timeout=900 tests/kafka/test_families.py tests/kafka/test_locks.py tests/kafka/test_correlation.py \
		tests/kafka/test_schedules.py tests/kafka/test_two_namespaces.py

# 10,000 schedules due at once, 1,000 over a year with kills, an entity's million operations, 10,000 slow connections.
many: $(VENV)/installed-dev
	SCHEDULES=10000 $(BIN)/pytest tests/embedded/test_many_schedules.py
	SCHEDULES=1000 $(BIN)/pytest tests/simulation/test_schedules.py
	OPERATIONS=1000000 $(BIN)/pytest tests/embedded/test_entity_sizes.py
	CONNECTIONS=10000 $(BIN)/pytest tests/api/test_slow.py

# Real processes under all faults at random; MINUTES=10 for less than an hour.
MINUTES ?= 60
soak: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.soak --minutes $(MINUTES)

# A view of a million runs: how fast it is made and answers, and how far behind it is under load.
RUNS ?= 1000000
million: $(VENV)/installed-dev
	$(BIN)/python -m benchmarks.views --n $(RUNS)

# The tests without a broker on each Python that is found on the PATH.
VERSIONS ?= 3.11 3.12 3.13 3.14
versions:
	@failed=0; for version in $(VERSIONS); do \
		if ! python$$version -c "" 2>/dev/null; then \
			echo "Python $$version: not found on the PATH, not run"; continue; \
		fi; \
		echo "Python $$version: found, the tests without a broker run"; \
		$(MAKE) --no-print-directory test-others PYTHON=python$$version VENV=.venv-$$version \
			|| failed=1; \
	done; exit $$failed

# All that is too slow for each change, some six hours: make -k nightly goes on after a failure.
nightly: test prove steps kills many million versions soak

# SMOKE=1, FSYNC=1, SYSTEMS="...", WORKLOADS="...": see benchmarks/compare.py.
bench: $(VENV)/installed-bench
	@$(BIN)/python -m benchmarks.compare

# The site: build/docs/index.html. A warning is an error.
docs: $(VENV)/installed-dev
	$(BIN)/python -m sphinx -W --keep-going -q -b html -d build/doctrees docs build/docs

clean:
	rm -rf $(VENV) build $(VERSIONS:%=.venv-%) processor-state .mypy_cache .ruff_cache .pytest_cache .hypothesis

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
