# Every target works alone on a fresh machine: it makes the environment it needs, once.

PYTHON ?= python3
TORCH ?= torch>=2.10 torchvision
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install demo test lint types build unit bench clean FORCE

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "Variables: PYTHON=$(PYTHON)   TORCH=\"$(TORCH)\""

install: $(VENV)/.dev  ## the environment for development, in .venv

demo: $(VENV)/.demo  ## compare a meta-learned prior with searching from scratch, on digits
	$(BIN)/base-fast compare --config examples/digits.toml --run runs/demo --resume

test: lint types build unit  ## everything a change has to pass

lint: $(VENV)/.dev  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev  ## static types
	$(BIN)/mypy

build: $(VENV)/.dev  ## the wheel, in build/wheels
	$(PIP) wheel --quiet --no-deps --wheel-dir build/wheels .

unit: $(VENV)/.dev  ## tests with coverage
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --cov

bench: $(VENV)/.dev  ## benchmarks
	$(BIN)/python -m pytest benchmarks --benchmark-only -o python_files='*.py'

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find base_fast tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: the environment is touched again only when what it was made from changes.

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	touch $@

$(VENV)/.torch: FORCE | $(VENV)/.pip
	@echo "$(TORCH)" | cmp -s - $@ || echo "$(TORCH)" > $@

# torch first and by itself, so that a pinned build is there before anything else can ask for another.
$(VENV)/.demo: $(VENV)/.torch pyproject.toml setup.py
	$(PIP) install $(patsubst %,'%',$(TORCH))
	$(PIP) install -e '.[data,report]' $(patsubst %,'%',$(TORCH))
	touch $@

$(VENV)/.dev: $(VENV)/.torch pyproject.toml setup.py
	$(PIP) install $(patsubst %,'%',$(TORCH))
	$(PIP) install -e '.[dev]' $(patsubst %,'%',$(TORCH))
	touch $@
