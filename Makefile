# Everything needs Python 3.11 and make; `make help` tells the rest.
PYTHON ?= python3.11
DATA ?=
UP ?=
TEST_WORKERS ?= 3
IMAGES ?= train predictor-cpu predictor-gpu gateway
BIN := .venv/bin
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-bins up env test test-long lint images sboms services clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

setup: .venv/ready ## create .venv with everything that demo and test need

demo: .venv/ready ## shelves end to end into runs/demo; DATA=<SKU-110K folder> takes real photos
	$(BIN)/python -m pipelines.demo $(if $(DATA),--data '$(DATA)')

demo-bins: .venv/ready ## bins end to end into runs/demo-bins; DATA=<folder in ABID's layout> takes real photos
	$(BIN)/python -m pipelines.demo_bins $(if $(DATA),--data '$(DATA)')

up: .venv/ready ## run the page, the API and all that they need on this machine; UP="--port 9000" gives flags
	@$(BIN)/python -m serving.up $(UP)

env: ## write .env for compose.yaml: random passwords, and versions; then `docker compose up --build`
	@$(PYTHON) compose/environment.py

test: .venv/ready ## all tests but the long ones; a service that is absent is a skip with its reason
	$(BIN)/pytest --numprocesses $(TEST_WORKERS) --dist loadfile

test-long: .venv/ready ## the tests that `make test` leaves out: half a minute or more each
	$(BIN)/pytest --numprocesses $(TEST_WORKERS) --dist loadfile -m long

lint: .venv/ready ## ruff, mypy and the import borders
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/lint-imports

images: ## build the images with docker, podman or buildah, whichever works; IMAGES=train builds that one
	@sh images/build.sh $(IMAGES)

sboms: ## list what is in the images, as dist/*.cdx.json
	@sh images/build.sh $(addprefix sbom-,$(IMAGES))

services: ## install the S3 server, Kubernetes API, Redis and Chromium that some tests drive
	bash .ci/services

clean: ## remove what was built; keeps .venv, .services and runs
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis htmlcov .coverage
