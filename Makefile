# Everything a developer or a build machine does, by name. Needs python3 (3.11 or newer, with venv)
# and make; the rest goes into .venv from requirements.lock.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
UV_VERSION := 0.13.9
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UV := $(BIN)/uv

CODE := $(wildcard fogbank services tests bench)
PROTOS := $(wildcard protos/fogbank/v1/*.proto)
# Extra arguments: make test PYTEST_ARGS="-k codec -x"
PYTEST_ARGS ?=
WORKERS ?= 2
# Of the other tiers' time half is waiting, for processes that start, end or stand still.
ALL_WORKERS ?= 3
# How long `make soak` goes on, in seconds.
TIME ?= 600
PYTEST := $(BIN)/pytest --dist loadgroup -n
# Some machines (those made for images, most of all) forbid Python to keep what it compiled: each of
# the hundreds of processes that tests start would compile everything anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## List the targets (this list).
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# --- installing ---------------------------------------------------------------------------

.PHONY: install
install: $(STAMP) ## Put the project and its locked dependencies into .venv (other targets do it by themselves).

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) --version); try: make PYTHON=python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  rm -rf $(VENV); echo "$(PYTHON) cannot make virtual environments; on Debian: apt-get install python3-venv"; exit 1; }
	@$(UV) --version 2>/dev/null | grep -qF "uv $(UV_VERSION)" || \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	$(UV) pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

.PHONY: lock
lock: ## Resolve pyproject.toml anew into requirements.lock (LOCK_ARGS=--upgrade takes newer versions).
	@test -x $(UV) || { $(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install --quiet uv==$(UV_VERSION); }
	$(UV) pip compile --quiet pyproject.toml --all-extras --group dev \
	  --universal --python-version 3.11 --no-emit-package fogbank \
	  --generate-hashes --no-header --no-annotate $(LOCK_ARGS) -o requirements.lock

.PHONY: clean
clean: ## Remove caches, build results and .venv; data directories stay.
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .benchmarks
	find fogbank services tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- running ------------------------------------------------------------------------------

.PHONY: up
up: $(STAMP) ## Start the whole system on this machine (UP_ARGS="--nodes 20" and the like; Ctrl-C stops it).
	@$(BIN)/fog up $(UP_ARGS)

.PHONY: bench
bench: $(STAMP) ## Run the benchmarks; each prints its ratio against a floor or a peer of the same run.
	$(BIN)/python -m bench $(BENCH_ARGS)

# --- testing ------------------------------------------------------------------------------

.PHONY: test
test: $(STAMP) ## Run the quick tier: no containers, no kills, nothing slow.
	$(PYTEST) $(WORKERS) -m "not slow and not container and not kill and not soak" $(PYTEST_ARGS)

.PHONY: test-all
test-all: $(STAMP) ## Run every test but the soaks (containers need podman or Docker).
	$(PYTEST) $(ALL_WORKERS) -m "not soak" $(PYTEST_ARGS)

.PHONY: soak
soak: $(STAMP) ## Kill (also at named points), freeze and cut the power at random under load: TIME=3600 seconds (600; FOG_SOAK_SEED=N repeats).
	FOG_SOAK_S=$(TIME) $(BIN)/pytest -m soak --timeout 7200 $(PYTEST_ARGS)

SEED ?= 1
.PHONY: sim
sim: $(STAMP) ## Replay one simulated run with its transcript (SEED=17, SIM_ARGS="--minimise").
	$(BIN)/python -m tests.simulation --seed $(SEED) $(SIM_ARGS)

TIME ?= 10
.PHONY: sim-hunt
sim-hunt: $(STAMP) ## Look for a simulated run that fails, on all cores (TIME=10 minutes).
	$(BIN)/python -m tests.simulation --seeds 1..1000000 --minutes $(TIME) --jobs $$(nproc) $(SIM_ARGS)

# --- checking -----------------------------------------------------------------------------

.PHONY: check
check: lint types imports architecture proto-check deploy-check ## Run every static check: lint, types, imports, architecture, protos, deploy.

.PHONY: fmt
fmt: $(STAMP) ## Format Python and protos, and mend what the linter can mend safely.
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format --quiet .
	$(if $(PROTOS),$(BIN)/buf format -w)

.PHONY: lint
lint: $(STAMP) ## Check style and formatting with ruff.
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet . || { echo "run: make fmt"; exit 1; }

.PHONY: types
types: $(STAMP) ## Check types with mypy, strictly.
	$(BIN)/mypy $(CODE)

.PHONY: imports
imports: $(STAMP) ## Check who imports whom (contracts in pyproject.toml).
	$(BIN)/lint-imports --no-logo

.PHONY: architecture
architecture: $(STAMP) ## Run the tests about the code itself: sizes, purity, names.
	$(BIN)/pytest -q tests/architecture

.PHONY: proto
proto: $(STAMP) ## Generate fogbank/v1 from protos/.
	@test -n "$(PROTOS)" || { echo "no protos yet"; exit 1; }
	rm -f fogbank/v1/*_pb2.py fogbank/v1/*_pb2.pyi fogbank/v1/*_pb2_grpc.py fogbank/v1/*_pb2_grpc.pyi
	scripts/generate-stubs .

.PHONY: proto-check
proto-check: $(STAMP) ## Check protos: stubs up to date, lint, format, nothing broken for those who use them.
	scripts/check-protos

.PHONY: deploy-check
deploy-check: $(STAMP) ## Check deploy/: Dockerfile, compose file and the broker's configuration.
	scripts/check-deploy
