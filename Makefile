# make demo | make test | make bench | make bench-scaling | make chaos: each sets up .venv by itself. PYTHON chooses another Python, 3.11 or later.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VIDEO ?=
RTSP ?=
TRACES ?= ../shared/traces

.PHONY: demo setup test lint check bench bench-memory bench-scaling bench-reality bench-search chaos clean

demo: $(VENV)/.demo
	$(BIN)/tidegate demo $(foreach v,$(VIDEO),--video "$(v)") $(foreach u,$(RTSP),--rtsp "$(u)")

setup: $(VENV)/.demo
	@echo "ready: $(BIN)/tidegate --help"

test: $(VENV)/.test
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test

bench: $(VENV)/.test
	$(BIN)/python -m bench

# Ten minutes of load: not part of bench.
bench-memory: $(VENV)/.test
	$(BIN)/python -m bench.bench_memory

# Every policy on every trace: ten minutes, or as long as the traces are.
bench-scaling: $(VENV)/.test
	$(BIN)/python -m bench.bench_scaling --traces "$(TRACES)"

# The simulator beside real workers: ten minutes.
bench-reality: $(VENV)/.test
	$(BIN)/python -m bench.bench_reality

# A million vectors: five minutes and 3 GB of disk.
bench-search: $(VENV)/.test
	$(BIN)/python -m bench.bench_search

chaos: $(VENV)/.demo
	$(BIN)/tidegate chaos

# Debian's Python comes without ensurepip: python3-venv has it.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V). Say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -m venv $(VENV) 2>/dev/null || { rm -rf $(VENV); \
	  echo "installing python3-venv"; apt-get update -qq && apt-get install -y -qq python3-venv >/dev/null && $(PYTHON) -m venv $(VENV); }

$(VENV)/.demo: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[demo]'
	@touch $@

$(VENV)/.test: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV), with what the tests need"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[test]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) demo-output bench-output .pytest_cache .mypy_cache .ruff_cache
