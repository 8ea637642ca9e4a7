# Two commands: `make run` shows the whole way, `make test` proves it. Everything installs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RUN := lodestar-run
CODE := lodestar components pipelines feature_repo serving cli
# Bytecode is kept whatever the shell says: without it torch takes 3 s to import instead of 1.
export PYTHONDONTWRITEBYTECODE :=
REGISTRY ?= localhost:5000
BASE_IMAGE ?= docker.io/library/python:3.12-slim
BASE_DIGEST ?=
TLS_VERIFY ?= true
# What this machine's pip is told about package indexes holds inside the build, and nothing of it stays in the image.
MOUNTED := $(foreach path,$(wildcard /etc/pip.conf /etc/ssl/certs),--volume $(path):$(path):ro)

# Wheels only, but for one package that has none; `--universal`: for every platform and Python that we support.
PINNED = $(BIN)/uv pip compile --quiet $(1) --constraints constraints.txt --universal --python-version 3.11 --generate-hashes --no-header \
	--no-annotate --only-binary :all: --no-binary kfp-server-api --output-file requirements/$(2).txt$(NEWLINE)
define NEWLINE


endef

.PHONY: run test test-cluster drills check check-all docs bench image manifests lock audit clean

run: $(READY)  ## the whole pipeline on a simulated shop
	$(BIN)/lodestar run --output $(RUN)

test: $(READY)  ## all tests but those that need a cluster, on two cores or more
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

test-cluster: $(READY)  ## the whole way on the Kubernetes that KUBECONFIG names
	$(BIN)/python -m pytest -m cluster --timeout 1800 tests/cluster

drills: $(READY)  ## what takes longer than ten seconds: goes on where it was, one result for each drill and seed
	$(BIN)/python -m tests.drills

check: $(READY)  ## the inner loop, in seconds: format, lint, types, imports, dead and repeated code, sizes, what documents say
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyrefly check --output-format min-text
	$(BIN)/lint-imports
	$(BIN)/vulture
	$(BIN)/jscpd --no-colors --format python --min-lines 7 --min-tokens 50 --threshold 0.1 $(CODE)
	$(BIN)/python -m pytest --quiet tests/contract/test_readme.py tests/contract/test_documents.py

check-all: check  ## what CI asks beside it, in minutes: mypy strict, and no repeated block at all
	$(BIN)/mypy
	$(BIN)/pylint $(CODE)

docs: $(READY)  ## write docs/reference and the pictures of docs/architecture.md anew from the code
	$(BIN)/python -m docs.generate

bench: $(READY)  ## every benchmark at a small size: ours beside a named peer, as ratios
	$(BIN)/python -m benchmarks

image: $(READY)  ## build and push one role's image: make image ROLE=serve REGISTRY=registry.example.com/team
	reference=$$($(BIN)/python -c 'import sys; from components.images.image import image_reference; print(image_reference(*sys.argv[1:]))' $(ROLE) $(REGISTRY)) && \
	buildah build --layers --network host --tls-verify=$(TLS_VERIFY) --build-arg BASE_IMAGE=$(BASE_IMAGE) \
		--build-arg BASE_DIGEST=$(BASE_DIGEST) $(MOUNTED) \
		--target $(ROLE) --tag $$reference . && \
	buildah push --tls-verify=$(TLS_VERIFY) $$reference && echo $$reference

manifests: $(READY)  ## write which images they run: make manifests REGISTRY=registry.example.com/team [TAG=…, the code's hash]
	$(BIN)/python -m components.kubernetes.manifests --registry $(REGISTRY) $(if $(TAG),--tag $(TAG))

lock: $(READY)  ## pin what images install, with hashes, as constraints.txt has it
	$(foreach role,serve launcher features train,$(call PINNED,pyproject.toml --extra $(role),$(role)))
	$(call PINNED,requirements/torch.in,torch)
	$(call PINNED,requirements/build.in,build)
	sha256=$$(cat requirements/*.txt | $(BIN)/python -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())') && \
	printf '"""What images install is part of their tags: sha256 of requirements/*.txt, written by `make lock`."""\n\nREQUIREMENTS_HASH = "%s"\n' \
		$$sha256 > components/images/locked.py

audit: $(READY)  ## known vulnerabilities in what images install
	.ci/audit

clean:
	rm -rf $(VENV) $(RUN) build *.egg-info

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt --editable '.[dev]'
	touch $(READY)
