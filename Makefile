# Everything that a clone needs is Python >= 3.11 and make. `make help` lists the targets.
.DEFAULT_GOAL := help
SHELL := /bin/sh

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# `make run` installs what a pod needs; everything else adds the tools.
RUNTIME := $(VENV)/.runtime-installed
DEV := $(VENV)/.dev-installed
SUPPLY := $(VENV)/supply
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCK := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-header --no-annotate --no-strip-extras --quiet

.PHONY: help setup run test lint format types imports check chaos bench manifests sbom audit lock clean

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: $(DEV)  ## make .venv with the locked tools and the project itself

run: $(RUNTIME)  ## start a pod with an embedded Valkey, run the example workflow, go on serving
	$(BIN)/peerflow serve --demo

test: $(DEV)  ## run all tests
	$(BIN)/python -m pytest

lint: $(DEV)  ## ruff: rules and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(DEV)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(DEV)  ## pyright, strict
	$(BIN)/pyright

imports: $(DEV)  ## import-linter: who may import whom
	$(BIN)/lint-imports

check: lint types imports test  ## everything that CI checks without Docker images

chaos: $(DEV)  ## break real pods at random for CHAOS_MINUTES (5), check every run, print one table; CHAOS_SEED replays
	$(BIN)/python -m pytest tests/chaos -m long -q
	$(BIN)/python -m tests.chaos.campaign

bench: $(DEV)  ## measure, and print one table
	$(BIN)/python -m benchmarks

manifests: $(DEV)  ## write the parts of deploy/k8s that are made of other files
	$(BIN)/python .ci/manifests.py

sbom: $(SUPPLY)  ## write build/peerflow.cdx.json: what a pod is made of (CycloneDX)
	$(SUPPLY)/bin/python .ci/sbom.py

audit: $(SUPPLY)  ## ask the index's database for known flaws of what a pod installs
	$(SUPPLY)/bin/python .ci/audit.py

lock: $(DEV)  ## resolve anew and write requirements/*.txt (dev first: the others follow it)
	$(LOCK) --upgrade --group dev --output-file requirements/dev.txt
	$(LOCK) --constraint requirements/dev.txt --output-file requirements/runtime.txt
	$(LOCK) --constraint requirements/dev.txt --extra otel --output-file requirements/otel.txt
	$(BIN)/uv pip compile --group build --constraint requirements/dev.txt --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --no-strip-extras --quiet --output-file requirements/build.txt
	$(BIN)/uv pip compile --group supply --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --no-strip-extras --quiet --upgrade --output-file requirements/supply.txt

clean:  ## remove everything that the other targets made, the embedded server's data excepted
	rm -rf $(VENV) .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "peerflow needs Python 3.11 or newer; '$(PYTHON)' was not found. Set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "peerflow needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Set PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "Python's venv module is not complete; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(RUNTIME): requirements/build.txt requirements/runtime.txt pyproject.toml | $(BIN)/python
	$(PIP) install --require-hashes -r requirements/build.txt -r requirements/runtime.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(SUPPLY): requirements/supply.txt | $(BIN)/python
	$(PYTHON) -m venv $@.new
	$@.new/bin/python -m pip --disable-pip-version-check --quiet install --require-hashes -r requirements/supply.txt
	rm -rf $@ && mv $@.new $@

$(DEV): requirements/dev.txt $(RUNTIME)
	$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@
