# Two commands: `make run` shows the whole way, `make test` proves it. Everything installs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := lodestar-run

.PHONY: run test test-cluster check bench image clean

run: $(READY)  ## the whole pipeline on a simulated shop
	$(BIN)/lodestar run --output $(RUN)

test: $(READY)  ## all tests but those that need a cluster
	$(BIN)/python -m pytest

test-cluster: $(READY)  ## the whole way on the Kubernetes that KUBECONFIG names
	$(BIN)/python -m pytest -m cluster tests/cluster

check: $(READY)  ## format, lint, types, imports, dead and repeated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/pylint lodestar components pipelines feature_repo serving cli

bench: $(READY)  ## ours beside a named peer, as ratios
	for file in benchmarks/*.py; do $(BIN)/python $$file; done

image:  ## one image per role: make image ROLE=serve
	buildah build --target $(ROLE) --tag lodestar-python-$(ROLE) -f Containerfile .

clean:
	rm -rf $(VENV) $(RUN) build *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[dev]'
	touch $(READY)
