# Everything a developer, a visitor and CI run. It needs Python 3.11 or newer with venv, and make: nothing else.

.DEFAULT_GOAL := help
.PHONY: help setup test torture mutation check format-check lint types-mypy types-pyright layers format docs demo clean

PYTHON ?= python3
WORKERS ?= auto
SECONDS ?= 60
SEED ?= 1

VENV := .venv
BIN := $(VENV)/bin

# An environment is made anew when what it is made from has changed, or when the folder has moved.
MADE_FROM := $(shell { pwd; cat pyproject.toml constraints.txt; } | cksum | cut -d ' ' -f 1)
DEV := $(VENV)/.made-dev-$(MADE_FROM)
DEMO := $(VENV)/.made-demo-$(MADE_FROM)

# pyright brings its own program, but looks for a newer release at every start unless told not to.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-7s %s\n", $$1, $$2 }' Makefile

setup: $(DEV) ## make .venv with all that developers need

test: check ## all checks and all tests, as CI runs them
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m 'not mutation'

check: $(DEV) ## format, lint, types and layers
	@$(MAKE) --no-print-directory --jobs 2 --keep-going --output-sync=target format-check lint types-mypy types-pyright layers

format-check: $(DEV)
	@$(BIN)/ruff format --check .

lint: $(DEV)
	@$(BIN)/ruff check .

types-mypy: $(DEV)
	@$(BIN)/mypy

types-pyright: $(DEV)
	@$(BIN)/pyright

layers: $(DEV)
	@said=$$($(BIN)/lint-imports) && echo "$$said" | tail -n 1 || { echo "$$said"; exit 1; }

format: $(DEV) ## put all Python files in order
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

torture: $(DEV) ## kill servers, cut their power, damage their files: SECONDS=60 SEED=1
	@TORTURE_SECONDS=$(SECONDS) TORTURE_SEED=$(SEED) TORTURE_CUTS=1000000 TORTURE_PLACES=$(SECONDS) \
		$(BIN)/python -m pytest --timeout 0 tests/crash

mutation: $(DEV) ## run our conformance suite against good servers and many broken ones
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup -m mutation tests/conformance

docs: $(DEV) ## build the documentation as a site in build/docs
	@$(BIN)/zensical build --clean
	@cd docs && find . -name '*.md' | tar -cf - -T - | tar -xf - -C ../build/docs  # what llms.txt links to

demo: $(or $(wildcard $(DEV)),$(DEMO)) ## start the demo, and say at which address
	@$(BIN)/durafold demo

clean: ## remove what was made here, but no data
	@rm -rf $(VENV) build dist test-output .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@rm -rf examples/reflex_demo/.web examples/reflex_demo/.states tests/conformance/*/node_modules
	@find sdk server tests examples -name __pycache__ -type d -exec rm -rf {} +

$(DEV):
	$(call make-venv,dev)

$(DEMO):
	$(call make-venv,all)

define make-venv
	@echo 'Making $(VENV) (once, takes about a minute)'
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12")'
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install -qq --constraint constraints.txt --editable '.[$(1)]'
	@touch $@
endef
