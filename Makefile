# What can one do with a checkout? `make` alone lists it.

SHELL := /bin/sh
# The system's own Python: what runs as another account cannot use one from somebody's home.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
BIN := .venv/bin
STAMP := .venv/installed
DISTRIBUTIONS := pyproject.toml $(wildcard connectors/*/pyproject.toml)
RUNS ?= 100
# Packages must be no younger than a week when they are locked: what is bad is often found by then.
NEWEST = $(shell date -d '7 days ago' +%F)

.PHONY: help install machine demo demo-clean clean test test-fast check reference lock chaos

help:
	@sed -n 's/^\([a-z-]*\):.*##/make \1 \t/p' Makefile

install: $(STAMP) ## put the locked packages and this checkout into .venv

$(STAMP): requirements.lock $(DISTRIBUTIONS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, not " + sys.version)'
	@$(PYTHON) -m cesai.demo.machine venv
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	@echo "installing the locked packages into .venv"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		$(patsubst %/,--editable %,$(dir $(patsubst pyproject.toml,./pyproject.toml,$(DISTRIBUTIONS))))
	@touch $(STAMP)

machine: install
	@$(BIN)/python -m cesai.demo.machine --go-on slurm

demo: install ## show the whole on real Slurm (ARGS="--check --report FILE.json" ends by itself)
	@$(BIN)/cesai demo $(ARGS)

demo-clean: ## remove everything that the demonstration made
	@$(PYTHON) -m cesai.demo.clean

clean: demo-clean ## the same, and .venv and caches
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist build
	@find cesai connectors tests migrations -name __pycache__ -prune -exec rm -rf {} +

test: machine ## all tests (ARGS are pytest's)
	@$(BIN)/pytest -q $(ARGS)

test-fast: install ## the tests that start no daemons but PostgreSQL
	@$(BIN)/pytest -q -m "not slurm and not e2e and not fault" $(ARGS)

check: install ## what a machine can say about the code
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python tests/architecture/rules_check.py
	@$(BIN)/python docs/generate.py --check
	@$(BIN)/pytest -q tests/architecture/test_migrations.py

chaos: machine ## break real daemons RUNS times (100)
	@CESAI_CAMPAIGN=$(RUNS) $(BIN)/pytest -q -m fault $(ARGS)

reference: install ## write the pages of docs/reference anew
	@$(BIN)/python docs/generate.py

lock: ## choose the packages anew; needs uv
	uv pip compile --universal --generate-hashes --no-emit-index-url --no-emit-package cesai --all-extras \
		--python-version 3.11 --exclude-newer $(NEWEST) pyproject.toml -o requirements.lock
