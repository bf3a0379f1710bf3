# make demo   serve the page on http://127.0.0.1:7860
# make test   run the whole test suite
# make qa     what is of use before a release, load, kill, fuzz and mutation testing, hours of it
# make docs   build the pages of docs/ as a site into site/
# make leaderboard   run every recipe on every protocol, hours of it, and write reports/leaderboard.md
# make bench   measure its speed, half an hour of it, and write reports/speed.md
# All work on a fresh clone with nothing but Python >= 3.11 and make: what they need goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# The suite runs in two processes; threads of numerical libraries would only take turns on the same cores.
TEST_ENV := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1
TEST_ARGS ?= -n 2 --dist worksteal
RELEASE := installed hub_and_back real_corpora processes ray_workers hostile fuzz kill

.PHONY: demo test qa docs leaderboard bench lint audit format clean

demo: $(VENV)/.demo-installed
	$(BIN)/python -m app.app

test: $(VENV)/.test-installed
	$(TEST_ENV) $(BIN)/python -m pytest $(TEST_ARGS)

# Load comes before mutants, which take hours.
qa: $(VENV)/.test-installed
	$(TEST_ENV) $(BIN)/python -m pytest $(RELEASE:%=tests/qa/%.py)
	$(BIN)/python -m tests.qa.load
	$(BIN)/python -m tests.qa.mutants

docs: $(VENV)/.test-installed
	$(BIN)/python -m docs.pages --check
	$(BIN)/python -m mkdocs build --strict

leaderboard: $(VENV)/.demo-installed
	$(BIN)/python -m experiments.leaderboard $(LEADERBOARD_ARGS)

# openSMILE, onnxruntime and a browser, which it needs, are among the requirements of the tests.
bench: $(VENV)/.test-installed
	$(BIN)/python -m experiments.speed $(BENCH_ARGS)

lint: $(VENV)/.test-installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

audit: $(VENV)/.test-installed
	$(BIN)/python .ci/audit.py

format: $(VENV)/.test-installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .hypothesis .gradio
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or newer is needed, and $(PYTHON) is not: say which to use, as in 'make $(MAKECMDGOALS) PYTHON=python3.11'." >&2; \
		exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo-installed: requirements.txt | $(BIN)/python
	@echo "Installing what the demo needs into $(VENV); the first time takes some minutes."
	$(PIP) -r requirements.txt
	@touch $@

$(VENV)/.test-installed: requirements-dev.txt requirements-egemaps.txt requirements-onnx.txt requirements-scale.txt requirements.txt | $(BIN)/python
	@echo "Installing what the tests need into $(VENV); the first time takes some minutes."
	$(PIP) -r requirements-dev.txt
	@touch $@ $(VENV)/.demo-installed
