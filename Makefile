# The few verbs a person types. `make` alone lists them.
# A fresh Debian needs two packages first: apt-get install -y make python3-venv

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq
SOURCES := pyproject.toml constraints.txt
PYTEST := $(BIN)/python -m pytest

.PHONY: help demo lab cloud test test-fast lint format bench reference venv packages clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## the whole product on SIMULATED hypervisors, about a minute; SERVE=1: then its dashboard until Ctrl-C; no root, no libvirt
	@$(BIN)/foreshape demo $(if $(SERVE),--serve)

lab: ## real hypervisors and real guests for three minutes; needs root
	@devstack/packages.sh --require build lab
	@$(MAKE) $(VENV)/.dev
	@$(BIN)/python devstack/lab/run.py

cloud: ## a real OpenStack until Ctrl-C; REAL=1: with real hypervisors and the product; CHECK=1: only to see that it works; needs root
	@devstack/packages.sh --require build cloud $(if $(REAL),lab)
	@$(MAKE) $(VENV)/.dev
	@$(BIN)/python -W ignore devstack/cloud/run.py $(if $(CHECK),check,up) $(if $(REAL),--real)

test: packages $(VENV)/.dev ## lint and every tier of tests; a tier that cannot run here is named; LONG=1: also the longest files
	@LONG=$(LONG) $(BIN)/python tests/run.py

test-fast: $(VENV)/.dev ## unit and contract tests only
	@$(PYTEST) -q tests/unit tests/contract

lint: $(VENV)/.dev ## ruff, mypy strict, and who may import whom; all of them, whatever fails
	@rc=0; \
	$(BIN)/ruff check --quiet . && echo "ruff check: ok" || { echo "ruff check: FAILED"; rc=1; }; \
	$(BIN)/ruff format --quiet --check . && echo "ruff format: ok" || { echo "ruff format: FAILED"; rc=1; }; \
	$(BIN)/mypy --no-error-summary && echo "mypy: ok" || { echo "mypy: FAILED"; rc=1; }; \
	$(BIN)/lint-imports --no-logo > $(VENV)/imports.log 2>&1 && echo "imports: ok" || { cat $(VENV)/imports.log; echo "imports: FAILED"; rc=1; }; \
	exit $$rc

format: $(VENV)/.dev ## ruff's layout, in place
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.dev ## every benchmark: a ratio against a peer or a limit measured in the same run
	@for f in bench/[a-z]*.py; do echo "== $$f"; $(BIN)/python "$$f" || exit 1; done

reference: $(VENV)/.dev ## docs/api.md, from the API's own description
	@PYTHONPATH=tests/support $(BIN)/python tests/support/reference_support.py

packages: ## Debian packages of the real bed: installed when root, named when not
	@devstack/packages.sh

venv: $(VENV)/.dev ## the virtual environment, again whenever pyproject or constraints change

# One environment, two stamps: the demo's needs no compiler and no libvirt, the developer's does.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "venv: Python 3.11 or newer is needed; name one: make PYTHON=/usr/bin/python3.11 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
	  { echo "venv: Python's venv module is missing; as root: apt-get install -y python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(SOURCES) | $(VENV)/bin/python
	@echo "venv: installing foreshape[demo] into $(VENV) (a minute the first time)"
	@$(PIP) install --no-compile -c constraints.txt -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(SOURCES) | $(VENV)/bin/python
	@if pkg-config --exists libvirt 2>/dev/null; then extra=dev; else extra=demo,openstack,learn,compare,tools; \
	  echo "venv: libvirt's headers are missing, so the libvirt door is left out and its tests are skipped; as root: make packages"; fi; \
	echo "venv: installing foreshape[$$extra] into $(VENV) (a minute or two the first time)"; \
	$(PIP) install -c constraints.txt -e ".[$$extra]"; \
	case $$extra in dev) touch $@ $(VENV)/.demo;; esac

clean: ## forget the environment and every cache
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find agent controller tests bench devstack -name __pycache__ -type d -prune -exec rm -rf {} +
