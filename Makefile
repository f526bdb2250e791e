# deepvis_caffe: every target does its own set-up, in a virtual environment in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-images test test-fast fuzz torture lint pycaffe bench proto clean

help:  ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "deepvis_caffe needs Python 3.10 or later; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "no venv module: sudo apt-get install -y python3-venv" >&2; exit 1; }

# A stamp file stands for "installed as these files say", so that a second run starts at once.
$(VENV)/.setup: setup.py constraints.txt | $(BIN)/python
	@echo "setting up $(VENV) ..."
	@$(PIP) install --upgrade pip
	@$(PIP) install --constraint constraints.txt --editable '.[torch]'
	@$(BIN)/python -c 'import cv2' || \
	  { echo "OpenCV lacks system libraries: sudo apt-get install -y libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@

$(VENV)/.setup-dev: $(VENV)/.setup
	@echo "adding the developers' tools ..."
	@$(PIP) install --constraint constraints.txt --editable '.[torch,dev]'
	@touch $@

setup: $(VENV)/.setup  ## Install deepvis_caffe and the embedded engine into .venv

demo: $(VENV)/.setup  ## Fetch a real ImageNet model and make its first images
	@$(BIN)/deepvis demo

demo-images: $(VENV)/.setup  ## Show what excites its units in real photographs
	@$(BIN)/deepvis demo --real-images

test: $(VENV)/.setup-dev  ## Run the tests
	@$(BIN)/python -m pytest

# One thread each: the workers' threads would get in each other's way, which takes three times as long.
test-fast: $(VENV)/.setup-dev  ## Run the tests that take under a minute in all
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n auto -m "not (browser or screen or cluster or process or slow)"

FUZZ_EXAMPLES ?= 20000
FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/.setup-dev  ## Read many damaged files of every kind, others each time
	@DEEPVIS_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) DEEPVIS_FUZZ_SEED=$(FUZZ_SEED) \
	  $(BIN)/python -m pytest -s --timeout 7200 tests/fuzz

TORTURE_KILLS ?= 1000
torture: $(VENV)/.setup-dev  ## Kill every command that writes, at many moments, and see what is left
	@$(BIN)/python -m tools.torture --kills $(TORTURE_KILLS)

lint: $(VENV)/.setup-dev  ## Run ruff, mypy and import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

pycaffe: $(VENV)/.setup  ## Build real pycaffe for this Python and install it into .venv
	@$(BIN)/python tools/pycaffe/build.py

bench: $(VENV)/.setup  ## Time both engines and the ascent, one table
	@$(BIN)/python -m benchmarks

proto:  ## Generate schema_pb2.py again (needs protoc)
	protoc --python_out=. deepvis_caffe/model/schema.proto

clean:  ## Remove .venv and what tools leave behind
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
	  .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
