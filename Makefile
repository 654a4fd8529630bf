# One command a task. `make help` lists them.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONFIG ?= configs/demo.yaml
DATA ?=
CLUSTER ?= configs/cluster/default.yaml
ARGS ?=
SOURCE ?= lfw112
WEIGHTS ?=
CRON ?= 0 2 * * *
BASE ?= docker.io/library/python:3.11-slim-bookworm
BUILD_ARGS ?=
REGISTRY ?=
MINUTES ?= 10

# pytest-xdist gives each of WORKERS processes one file of tests at a time. Each has a thread of its own: where more are at
# work than there are cores, PyTorch's wait for one another at every layer, and tests take five times as long.
WORKERS ?= 2

.PHONY: help setup demo test docs benchmarks gpu-figures test-cluster lint compile golden sbom licences audit fuzz base-image lock-images build-images push-images submit schedule clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

setup: $(VENV)/.done ## virtual environment in .venv, pinned by constraints.txt; done once

$(VENV)/.done: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "OAML needs Python 3.11 or newer; this is $$($(PYTHON) -V). Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@[ "$$(df -Pk . | awk 'NR==2 {print int($$4 / 1048576)}')" -ge 12 ] || [ -d $(VENV)/lib ] || \
	  { echo "OAML's environment needs 12 GiB; $$(df -Ph . | awk 'NR==2 {print $$4}') are free here." >&2; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## prepare, train, evaluate and export on this machine; DATA=folder for your own faces
	$(BIN)/python -m pipelines.run_local --config $(CONFIG) $(if $(DATA),--data.source $(DATA)) $(ARGS)

test: setup ## all tests but those that need a GPU, or many minutes (ARGS="-m long")
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not gpu and not long" -n $(WORKERS) --dist loadfile $(ARGS)

gpu-figures: setup ## tests marked gpu, then benchmarks/gpu.json and its table; wants a GPU
	$(BIN)/python -m pytest -q -m gpu $(ARGS)
	$(BIN)/python -m benchmarks.gpu --out benchmarks/gpu.json

benchmarks: setup ## figures as JSON and the tables of benchmarks/RESULTS.md; SOURCE=faces, WEIGHTS=backbone.onnx
	$(BIN)/python -m benchmarks.exported --source $(SOURCE) $(if $(WEIGHTS),--weights $(WEIGHTS)) $(ARGS)
	$(BIN)/python -m benchmarks.evaluation all-pairs --images 20000 --out benchmarks/figures/all-pairs.json
	$(BIN)/python -m benchmarks.evaluation all-pairs --images 5000 --both --out benchmarks/figures/all-pairs-both.json
	$(BIN)/python -m benchmarks.evaluation protocol --out benchmarks/figures/protocol.json
	$(BIN)/python -m benchmarks.evaluation runtime --arch mobilefacenet --source $(SOURCE) --threads 1 --compile --out benchmarks/figures/runtime-mobilefacenet.json
	$(BIN)/python -m benchmarks.evaluation runtime --arch ir_50 --source $(SOURCE) --threads 1 --compile --out benchmarks/figures/runtime-ir50.json
	for what in read duplicates prepare; do \
	  $(BIN)/python -m benchmarks.loading $$what --source $(SOURCE) --out benchmarks/figures/loading-$$what.json || exit 1; \
	done
	for what in open memfile; do \
	  $(BIN)/python -m benchmarks.loading $$what --out benchmarks/figures/loading-$$what.json || exit 1; \
	done
	$(BIN)/python -m benchmarks.augmenting pipeline --source $(SOURCE) --images 768 --rounds 2 --out benchmarks/figures/augmenting-pipeline.json
	$(BIN)/python -m benchmarks.augmenting faces --rounds 2 --out benchmarks/figures/augmenting-faces.json
	$(BIN)/python -m benchmarks.augmenting plan --out benchmarks/figures/augmenting-plan.json
	$(BIN)/python -m benchmarks.augmenting plan --labels 42000000 --identities 2000000 --out benchmarks/figures/augmenting-plan-many.json
	$(BIN)/python -m benchmarks.classifier --identities 90000 --batch 256 --out benchmarks/figures/classifier.json
	$(BIN)/python -m benchmarks.classifier --identities 360000 --batch 1024 --sample-rates 0.1 --out benchmarks/figures/classifier-many.json
	$(BIN)/python -m benchmarks.matching match pairs --sizes 64 256 --rounds 7 --threads 1 --out benchmarks/figures/matching.json
	$(BIN)/python -m benchmarks.store breakdown --mib 256 --out benchmarks/figures/store-breakdown.json
	$(BIN)/python -m benchmarks.store killed --mib 256 --out benchmarks/figures/store-killed.json
	for what in begin epochs; do \
	  $(BIN)/python -m benchmarks.streaming $$what --out benchmarks/figures/streaming-$$what.json || exit 1; \
	done
	$(BIN)/python -m benchmarks.figures

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: setup ## documentation with the API reference, in site/; fails on a warning
	$(BIN)/python -m mkdocs build --strict --quiet

compile: setup ## pipelines/oaml_pipeline.yaml for Kubeflow; CLUSTER=configs/cluster/….yaml for your cluster
	$(BIN)/python -m pipelines.compile --cluster $(CLUSTER)

golden: setup ## tests/golden: keep pipelines, jobs and manifests as they are now, after looking at `git diff`
	PYTHONPATH=tests $(BIN)/python -m golden.texts

test-cluster: setup ## manifests and training jobs on the Kubernetes API server that KUBECONFIG names
	$(BIN)/python -m pytest -m cluster $(ARGS)

base-image: setup ## a base image from Debian's packages, where none can be pulled; wants root and debootstrap
	$(BIN)/python -m images.debian_base

lock-images: setup ## images/*/locked.txt: packages of images by version and hash, asked of pip's index
	$(BIN)/python -m images.locked

build-images: setup ## container images whose inputs have changed; BASE=image for your own base
	$(BIN)/python -m images.build --base $(BASE) --build-args="$(BUILD_ARGS)"

push-images: setup ## push them: REGISTRY=registry.example.com/oaml
	@[ -n "$(REGISTRY)" ] || { echo "Say where to: make push-images REGISTRY=registry.example.com/oaml" >&2; exit 1; }
	$(BIN)/python -m images.build --push $(REGISTRY)

submit: setup ## one run on Kubeflow with the recipe CONFIG (`kfp run create`); wants KFP_ENDPOINT
	$(BIN)/python -m pipelines.submit --config $(CONFIG) --cluster $(CLUSTER) $(ARGS)

schedule: setup ## the same at CRON="0 2 * * *" (UTC), or no longer with CRON=off
	$(BIN)/python -m pipelines.schedule --config $(CONFIG) --cluster $(CLUSTER) --cron "$(CRON)" $(ARGS)

sbom: setup ## sbom.json: what this environment consists of (CycloneDX)
	$(BIN)/python -m images.packages sbom --out sbom.json

licences: setup ## licences of all packages, those that need attention first
	@$(BIN)/python -m images.packages licences

audit: setup ## known vulnerabilities of constraints.txt, by pip-audit; fails where nobody could be asked
	@$(BIN)/python -m images.audit

fuzz: setup ## every parser on damaged files for MINUTES=10, bounded in memory and time; findings in .fuzz/
	PYTHONPATH=tests $(BIN)/python -m fuzzing.campaign --minutes $(MINUTES) $(ARGS)

clean: ## remove caches and runs, not the environment
	rm -rf .oaml runs .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz
