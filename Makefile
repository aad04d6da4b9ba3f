# Two commands matter: `make repro` runs the pipeline, `make test` runs the tests. Both do their own set-up, once.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
PYTHON ?= python3
RUN = PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: help setup repro test lint lock clean

help:
	@echo "make repro   set up and run the pipeline on the demo world; ends by naming the report to open"
	@echo "make test    set up and run the tests"
	@echo "make setup   make .venv from requirements.lock"
	@echo "make lint    ruff and mypy"
	@echo "make lock    renew requirements.lock from pyproject.toml"
	@echo "make clean   remove the scratch folders that stages resume from"

setup: .venv/ready

.venv/ready: requirements.lock setup.sh
	@PYTHON="$(PYTHON)" sh setup.sh

repro: setup
	@$(RUN) dvc repro
	@echo "The report: open metrics/report/index.html"

test: lint
	@$(RUN) python -m pytest

lint: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy

lock: setup
	@$(RUN) uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--no-emit-find-links --group dev pyproject.toml --output-file requirements.lock

clean:
	@rm -rf .emblem
