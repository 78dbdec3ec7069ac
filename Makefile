# `make help` lists the targets. Settings: PYTHON (3.11 or later) and, for images, ALGORITHM, DEVICE, PURPOSE, PLATFORM.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
DEVICE ?= cpu
PURPOSE ?= all
READY := .venv/.ready
GPU = $(shell nvidia-smi --list-gpus > /dev/null 2>&1 && echo yes)

.DEFAULT_GOAL := help
.PHONY: help setup demo test check format bench soak docs lock tables image base image-test push index clean

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## */\1\t/' | expand -t 14

setup: $(READY) ## make .venv with everything, .venv/bin/train and .venv/bin/serve in it

# The lock has every package with its hashes; the project itself is installed in place, with no look at the index.
$(READY): pyproject.toml locks/development.lock $(wildcard */*.[ch] */*/*.[ch])
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed: make PYTHON=…")'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/development.lock
	PYTHONWARNINGS=ignore .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation -e .
	@ls recordio/_kernel.*.so recordio/_text.*.so >/dev/null 2>&1 || echo "The compiled readers were not built: there is no C compiler (gcc) here. All works, but reading takes a hundred times as long; install gcc, then: make -B setup"
	@touch $@

demo: $(READY) ## train and serve on handwritten digits, and draw a page of what came out
	.venv/bin/python examples/demo.py out/demo

# One more than there are cores: tests wait for processes, sockets and pauses for a good part of their time.
WORKERS = $(shell $(PYTHON) -c 'import os; print((os.cpu_count() or 1) + 1)')

# Hundreds of processes import the same modules: each is compiled once, whatever the environment says.
test: export PYTHONDONTWRITEBYTECODE =
test: $(READY) ## run the tests, in a process more than there are cores, four at the most; JOBS=0: one after the other, CI=1: the long ones too
	OMP_NUM_THREADS=1 .venv/bin/python -m pytest $(if $(CI),,-m "not ci") -n $(or $(JOBS),$(WORKERS)) --maxprocesses 4 --dist worksteal

check: $(READY) ## lint, format, types, and which layer imports which
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/python -m pytest -q tests/test_layers.py

format: $(READY) ## format the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

bench: $(READY) ## measure beside other libraries and write docs/measured.md: half an hour; QUICK=1, NAME=kmeans for one in detail
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/peers.lock
ifdef NAME
	.venv/bin/python -m $(if $(QUICK),benchmarks --quick --only $(NAME),benchmarks.$(NAME))
else
	.venv/bin/python -m benchmarks $(if $(QUICK),--quick,--write docs/measured.md)
	$(if $(GPU),.venv/bin/python -m benchmarks.gpu)
endif

soak: $(READY) ## mixed requests to a server of each algorithm, 64 connections to each, for an hour (SECONDS=60): no error, no growth of memory
	.venv/bin/python -m benchmarks.soak --seconds $(or $(SECONDS),3600)

lock: $(READY) ## write locks/ anew from pyproject.toml; UPGRADE=1 takes the newest versions
	.venv/bin/python locks/compile.py $(if $(UPGRADE),--upgrade)

docs: $(READY) ## make the documentation site in out/site; every warning and every broken link is an error
	NO_MKDOCS_2_WARNING=1 .venv/bin/python -m mkdocs build --strict --quiet --site-dir out/site
	@echo "To look at it: .venv/bin/python -m http.server --directory out/site, and http://localhost:8000"

tables: $(READY) ## write the tables of the pages anew from the declarations
	.venv/bin/python examples/readme.py
	.venv/bin/python -m examples.requests

# Asked for here, as the recipe of image-test comes after minutes of installing.
ifneq ($(filter image image-test,$(MAKECMDGOALS)),)
$(if $(ALGORITHM),,$(error which algorithm? make $(MAKECMDGOALS) ALGORITHM=NAME, where NAME is all or one of $(shell $(PYTHON) images/requirements.py)))
endif

image: ## build the image of ALGORITHM (kmeans, … or all); DEVICE=gpu, PURPOSE=serve, PLATFORM=linux/arm64
	DEVICE=$(DEVICE) PURPOSE=$(PURPOSE) PLATFORM=$(PLATFORM) images/build.sh $(ALGORITHM)

base: ## write today's digest of the base image into the Dockerfile
	$(PYTHON) images/base_digest.py

# An image that trains is tried from a small environment, one for serving alone by models that are trained here.
image-test: $(if $(filter serve,$(PURPOSE)),$(READY),.venv-images/.ready) ## train and serve in that image
	$(<D)/bin/python images/check.py $(ALGORITHM) $$(DEVICE=$(DEVICE) PURPOSE=$(PURPOSE) PLATFORM=$(PLATFORM) images/name.sh $(ALGORITHM))

.venv-images/.ready: locks/serve-all.lock
	$(PYTHON) -m venv .venv-images
	.venv-images/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/serve-all.lock
	@touch $@

push: ## push the images to REGISTRY, one under each algorithm's name; TAG=1, ALGORITHMS="kmeans pca" for some
	@test -n "$(REGISTRY)" || { echo "where to? make push REGISTRY=registry.example.com/team" >&2; exit 2; }
	DEVICE=$(DEVICE) PURPOSE=$(PURPOSE) PLATFORM=$(PLATFORM) images/push.sh $(REGISTRY) $(or $(TAG),latest) $(or $(ALGORITHMS),$(shell $(PYTHON) images/requirements.py))

index: ## give the pushed images of PLATFORMS ("linux/amd64 linux/arm64") one name: each machine pulls its own
	@test -n "$(REGISTRY)" || { echo "where? make index REGISTRY=registry.example.com/team" >&2; exit 2; }
	DEVICE=$(DEVICE) PURPOSE=$(PURPOSE) PLATFORMS="$(PLATFORMS)" images/index.sh $(REGISTRY) $(or $(TAG),latest) $(or $(ALGORITHMS),$(shell $(PYTHON) images/requirements.py))

clean: ## remove all that was made here
	rm -rf .venv .venv-images .interop build dist out *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -f */*.so */*/*.so
