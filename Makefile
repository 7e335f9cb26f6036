# Every target works alone on a fresh machine: it makes the environment it needs, once.

PYTHON ?= python3
TORCH ?= torch>=2.10 torchvision
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(shell find csrc -type f)
# Ninja comes with the environment.
export PATH := $(CURDIR)/$(BIN):$(PATH)
PIP := $(BIN)/python -m pip --disable-pip-version-check

.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help install hooks demo test lint types build unit coverage bench clean FORCE

help:  ## show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 20
	@echo "Variables: PYTHON=$(PYTHON)   TORCH=\"$(TORCH)\""

install: $(VENV)/.built hooks  ## the environment for development, in .venv

# In a checkout of its own, not in an archive's copy; hooks that a developer keeps elsewhere stay.
hooks: $(VENV)/.dev
	@if [ "$$(git rev-parse --show-toplevel 2>/dev/null)" = "$$(pwd -P)" ]; then \
		$(BIN)/python -m pre_commit install --hook-type commit-msg || echo "the commit-msg hook is not installed"; fi

demo: $(VENV)/.demo  ## compare a meta-learned prior with searching from scratch, on digits
	$(BIN)/base-fast compare --config examples/digits.toml --run runs/demo --resume

test: lint types build unit  ## everything a change has to pass

lint: $(VENV)/.dev  ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $(SOURCES)

types: $(VENV)/.dev  ## static types
	$(BIN)/mypy

build: $(VENV)/.dev  ## the wheel, in build/wheels
	BASE_FAST_EXTENSION=1 $(PIP) wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheels .

PYTEST = OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadgroup

unit: $(VENV)/.built  ## tests
	$(PYTEST)

coverage: $(VENV)/.built  ## tests, and the lines that none of them reaches
	$(PYTEST) --cov

bench: $(VENV)/.built  ## kernels against the best plain PyTorch: table and plot in runs/bench
	$(BIN)/python -m benchmarks

clean:  ## remove the environment and everything built
	rm -rf $(VENV) build dist *.egg-info base_fast/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* htmlcov
	find base_fast tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps: the environment is touched again only when what it was made from changes.

$(VENV)/.pip:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip
	touch $@

$(VENV)/.torch: FORCE | $(VENV)/.pip
	@echo "$(TORCH)" | cmp -s - $@ || echo "$(TORCH)" > $@

# torch first and by itself, so that a pinned build is there before anything else can ask for another, and so that the
# extension is built against it.
$(VENV)/.tools: $(VENV)/.torch
	$(PIP) install 'setuptools>=77' ninja $(patsubst %,'%',$(TORCH))
	touch $@

$(VENV)/.demo: $(VENV)/.tools pyproject.toml setup.py $(SOURCES)
	$(PIP) install --no-build-isolation -e '.[data,report]' $(patsubst %,'%',$(TORCH))
	touch $@

$(VENV)/.dev: $(VENV)/.tools pyproject.toml
	BASE_FAST_EXTENSION=0 $(PIP) install --no-build-isolation -e '.[dev]' $(patsubst %,'%',$(TORCH))
	touch $@

$(VENV)/.built: $(VENV)/.dev setup.py $(SOURCES)
	BASE_FAST_EXTENSION=1 $(BIN)/python setup.py --quiet build_ext --inplace
	touch $@
