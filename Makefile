# Two commands: `make demo` shows what Assay does, `make test` shows that it does it. Each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
FUZZ_SECONDS ?= 60

.PHONY: demo test fuzz lint types docs peers-proof peers-private clean

demo: .venv/assay
	$(BIN)/assay demo --out runs/demo

test: .venv/assay-test lint types
	$(BIN)/pytest

# Coverage-guided fuzzing of both verifiers of proofs; `make fuzz FUZZ_SECONDS=3600` for an hour.
fuzz: .venv/assay-fuzz
	$(BIN)/python benchmarks/fuzz_atheris.py -max_total_time=$(FUZZ_SECONDS)

lint: .venv/assay-test
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check --quiet src tests

types: .venv/assay-test
	$(BIN)/mypy

docs: .venv/assay-docs
	$(BIN)/zensical build

# EZKL, with which `assay bench proof` compares; in an environment of its own, since it is no part of Assay.
peers-proof: .venv-ezkl/installed

.venv-ezkl/installed: Makefile
	$(PYTHON) -m venv .venv-ezkl
	.venv-ezkl/bin/pip install --quiet --disable-pip-version-check ezkl==23.0.5 onnx numpy
	@touch $@

# SPU, with which `assay bench private` compares; it needs an older Python, numpy and JAX than Assay may use.
peers-private: .venv-spu/installed

.venv-spu/installed: Makefile
	python3.11 -m venv .venv-spu
	.venv-spu/bin/pip install --quiet --disable-pip-version-check spu==0.9.5 'numpy<2' 'jax<=0.4.34' 'jaxlib<=0.4.34'
	@touch $@

clean:
	rm -rf .venv .venv-ezkl .venv-spu runs build site

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

.venv/assay-fuzz: pyproject.toml .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[fuzz]'
	@touch $@

.venv/assay-docs: pyproject.toml .venv/bin/python
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@
