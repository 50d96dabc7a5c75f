# Everything a newcomer or CI types. Each target makes what it needs; indexes and certificates come from the
# environment (PIP_*, UV_*, SSL_CERT_FILE, Maven's settings), never from here.
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
PYTHON ?= python3
UV = $(shell command -v $(VENV)/bin/uv || command -v uv || echo $(VENV)/bin/uv)
PYTEST = $(PY) -m pytest

.PHONY: help demo test test-unit test-containers lint format images lock clean
help:  ## this list
	@grep -hE '^[a-z-]+%?:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+%?):.*## /\1|/' | column -t -s '|'

# --- environment -----------------------------------------------------------------------------------------------------
$(VENV)/.uv:
	@test -x $(PY) || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@test -x "$(UV)" || $(PY) -m pip install --quiet uv
	@touch $@

# What runs the bridge and the demo: onnxruntime, no torch.
$(VENV)/.installed: requirements.lock $(VENV)/.uv
	@echo "installing what the bridge needs (requirements.lock)"
	@$(UV) pip install --quiet --python $(PY) -r requirements.lock
	@$(UV) pip install --quiet --python $(PY) --no-deps --editable .
	@touch $@

# Everything on top of it that tests and checks need, torch among it (several GB).
$(VENV)/.installed-test: requirements-test.lock $(VENV)/.installed
	@echo "installing what the tests need (requirements-test.lock; torch is large)"
	@$(UV) pip install --quiet --python $(PY) -r requirements-test.lock
	@touch $@

# The tests' lock first: it is the narrower problem, and the bridge's own must be a part of it.
COMPILE = $(UV) pip compile --quiet --universal --upgrade --python-version 3.11 --no-emit-index-url --no-header --no-annotate
lock: $(VENV)/.uv  ## resolve the two lock files anew
	$(COMPILE) pyproject.toml --extra torch --extra aws --group test --group lint -o requirements-test.lock
	$(COMPILE) pyproject.toml -c requirements-test.lock -o requirements.lock

# --- use -------------------------------------------------------------------------------------------------------------
demo: $(VENV)/.installed  ## a real OpenSearch, the bridge, a real model, a semantic search
	@$(PY) examples/demo.py

test: $(VENV)/.installed-test  ## the whole suite (what CI runs), without the container tests
	$(PYTEST) -m "not containers and not gpu" $(ARGS)

test-unit: $(VENV)/.installed-test  ## what needs no server
	$(PYTEST) -m "not containers and not gpu" tests/unit $(ARGS)

test-containers: $(VENV)/.installed-test  ## images, containers and the composed stack; needs an engine, or root on Debian
	@testcontainers/with_engine.sh $(PYTEST) -m containers --timeout 600 tests/containers $(ARGS)

lint: $(VENV)/.installed-test  ## style, types and layers
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy --strict bridge/
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed-test  ## rewrite files in the house style
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

images: $(VENV)/.installed  ## build the two images that docker-compose.yml starts
	$(PY) testcontainers/build_images.py

bench-%: $(VENV)/.installed-test  ## one of benchmarks/: bench-embed, bench-passthrough, bench-register, bench-tasks
	$(PY) -m benchmarks.$* $(ARGS)

clean:  ## remove the environment and what tools left
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
