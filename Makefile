# Everything a person or CI runs. `make demo` and `make test` set up by themselves what they need.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
PYTHON ?=
DEMO_ARGS ?=
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo run test check format bench bench-drift faults clean system

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(VENV)/.installed system ## Create .venv with everything (idempotent)

$(VENV)/.installed: requirements-dev.lock pyproject.toml
	@PYTHON="$(PYTHON)" .ci/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

system: ## Install mosquitto by apt where that is possible
	@.ci/system-packages mosquitto

demo: $(VENV)/.installed ## Run the demo centre; DEMO_ARGS="--headless --seconds 60" is passed on
	@$(BIN)/metergate demo $(DEMO_ARGS)

run: $(VENV)/.installed ## Run the gateway with config/gateway.yaml
	@$(BIN)/metergate run

test: setup ## Run the tests; PYTEST_ARGS is passed on
	$(BIN)/python -m pytest -n 2 $(PYTEST_ARGS)

check: $(VENV)/.installed ## Format, lint, types, layers, doctests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest --doctest-modules gateway collectors

format: $(VENV)/.installed ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: setup ## Measure throughput, latency and memory against a bare subscriber
	$(BIN)/python -m bench $(BENCH_ARGS)

bench-drift: $(VENV)/.installed ## Simulate the run-length tables
	$(BIN)/python -m bench.drift $(BENCH_ARGS)

faults: setup ## Kill the gateway in a loop under load (long)
	$(BIN)/python -m pytest -m "faults" tests/faults $(PYTEST_ARGS)

clean: ## Remove what was made
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
