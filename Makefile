# People and CI run the same lines. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= auto

.DEFAULT_GOAL := help
.PHONY: help demo test journey docs lowest lint format types imports campaign build check clean

help: ## List the verbs
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

.venv/.made: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.dev: .venv/.made
	$(BIN)/python -m pip install --quiet --group dev --group trajectories
	@touch $@

demo: .venv/.made ## The main job on built-in data and offline models
	$(BIN)/promptopt demo

test: .venv/.dev ## All tests but the long ones
	$(BIN)/python -m pytest -q -n $(JOBS)

campaign: .venv/.dev ## The long tests: generated campaigns, whole runs, examples, killed processes
	$(BIN)/python -m pytest -q -n $(JOBS) -m campaign

.venv/.browser: .venv/.dev
	$(BIN)/python -m pip install --quiet --group browser
	@touch $@

journey: .venv/.browser ## The report in a real headless Chromium
	$(BIN)/python -m pytest -q -rs -m browser tests/browser

.venv/.docs: .venv/.dev
	$(BIN)/python -m pip install --quiet --group docs
	@touch $@

docs: .venv/.docs ## The documentation site, into build/site; a broken link is an error
	$(BIN)/python docs/make_reference.py
	$(BIN)/python -m mkdocs build --quiet --strict

.venv-lowest/.made: pyproject.toml .ci/lowest.txt
	$(PYTHON) -m venv .venv-lowest
	.venv-lowest/bin/python -m pip install --quiet --upgrade pip
	.venv-lowest/bin/python -m pip install --quiet --constraint .ci/lowest.txt --editable . --group dev
	@touch $@

lowest: .venv-lowest/.made ## All tests on the lowest versions that are promised
	.venv-lowest/bin/python -m pytest -q -n $(JOBS)

lint: .venv/.dev ## Ruff, both halves
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: .venv/.dev ## Let ruff format and fix, and write the reference pages anew
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/make_reference.py

types: .venv/.dev ## mypy, strict
	$(BIN)/mypy

imports: .venv/.dev ## Imports point down
	$(BIN)/lint-imports

build: .venv/.dev ## Wheel and source distribution
	$(BIN)/python -m build --outdir dist .

check: lint types imports test ## What a commit must pass

clean: ## Remove the environment and everything made
	rm -rf .venv .venv-lowest dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
