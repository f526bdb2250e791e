# deepvis_caffe: every target does its own set-up, in a virtual environment in .venv.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# Errors alone: its warnings are about caches, old metadata and other package indexes.
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
RUN_EXTRAS := torch,plots,browser

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-images test test-fast fuzz torture lint docs dist audit lock \
  pycaffe bench proto clean

help:  ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "deepvis_caffe needs Python 3.10 or later; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "no venv module: sudo apt-get install -y python3-venv" >&2; exit 1; }

# Packages have the versions and hashes of requirements/. With LOCKED=no they have the newest versions
# that setup.py and constraints.txt allow: for an index that does not serve these very files.
LOCKED ?= yes
ifeq ($(LOCKED),yes)
define install
  $(PIP) install --require-hashes --no-deps --requirement requirements/$(1).txt || \
    { echo "if the pinned files are not to be had: make LOCKED=no ..." >&2; exit 1; }
endef
else
define install
  $(PIP) install --constraint constraints.txt --editable '.[$(1)]'
endef
endif

# A stamp file stands for "installed as these files say", so that a second run starts at once.
PINNED := setup.py pyproject.toml constraints.txt $(wildcard requirements/*.txt)
$(VENV)/.setup: $(PINNED) | $(BIN)/python
	@echo "setting up $(VENV) ..."
ifeq ($(LOCKED),yes)
	@$(call install,build)
	@$(call install,run)
	@$(PIP) install --require-hashes --no-deps -r requirements/torch-cpu.txt 2> /dev/null || \
	  { $(call install,torch); }
	@PYTHONWARNINGS=ignore $(PIP) install --no-deps --no-build-isolation --editable .
else
	@$(PIP) install --upgrade pip
	@$(call install,$(RUN_EXTRAS))
endif
	@$(BIN)/python -m tools.clone_on_path
	@$(BIN)/python -m pip --disable-pip-version-check check > $(VENV)/check.txt || \
	  { cat $(VENV)/check.txt >&2; exit 1; }
	@$(BIN)/python -c 'import cv2' || \
	  { echo "OpenCV lacks system libraries: sudo apt-get install -y libgl1 libglib2.0-0" >&2; exit 1; }
	@touch $@

$(VENV)/.setup-%: $(VENV)/.setup
	@echo "adding packages for $* ..."
	@$(call install,$*)
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

FUZZ_EXAMPLES ?= 2000
FUZZ_MINUTES ?= 10
FUZZ_SEED ?= $(shell date +%s)
fuzz: $(VENV)/.setup-dev  ## Read damaged files of every kind for ten minutes, others each time
	@DEEPVIS_FUZZ_EXAMPLES=$(FUZZ_EXAMPLES) DEEPVIS_FUZZ_MINUTES=$(FUZZ_MINUTES) \
	  DEEPVIS_FUZZ_SEED=$(FUZZ_SEED) \
	  $(BIN)/python -m pytest -s --timeout 7200 tests/fuzz

TORTURE_KILLS ?= 1000
torture: $(VENV)/.setup-dev  ## Kill every command that writes, at many moments, and see what is left
	@$(BIN)/python -m tools.torture --kills $(TORTURE_KILLS)

lint: $(VENV)/.setup-dev  ## Run ruff, mypy and import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

docs: $(VENV)/.setup-docs  ## Build the documentation's pages into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

dist: $(VENV)/.setup-release  ## Build sdist and wheel, and try the wheel in an empty environment
	@$(BIN)/python -m tools.distributions

audit: $(VENV)/.setup-release  ## Say which pinned packages have known vulnerabilities
	@$(BIN)/python -m tools.audit

lock: $(VENV)/.setup-release  ## Pin all packages anew (requirements/)
	@$(BIN)/python -m tools.lock

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
