# Two commands: `make demo` shows what Assay does, `make test` shows that it does it. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types docs clean

demo: .venv/assay
	$(BIN)/assay demo --out runs/demo

test: .venv/assay-test lint types
	$(BIN)/pytest

lint: .venv/assay-test
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check --quiet src tests

types: .venv/assay-test
	$(BIN)/mypy

docs: .venv/assay-docs
	$(BIN)/zensical build

clean:
	rm -rf .venv runs build site

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Assay needs Python 3.11 or newer; call make PYTHON=python3.11")'
	$(PYTHON) -m venv .venv

# One mark for each set of packages: nothing is installed again until pyproject.toml changes.
.venv/assay: pyproject.toml .venv/bin/python
	@echo "installing Assay (torch is large: some minutes the first time) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	@touch $@

.venv/assay-test: pyproject.toml .venv/bin/python
	@echo "installing Assay and what its tests need (torch is large: some minutes the first time) ..."
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

.venv/assay-docs: pyproject.toml .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
