# Two commands matter: `make repro` runs the pipeline, `make test` runs the tests. Both do their own set-up, once.

SHELL := /bin/sh
.SHELLFLAGS := -eu -c
PYTHON ?= python3
TORCH ?=
BASE ?= main
NUMBER ?= 0
NAME ?= sd15
JOBS ?=
ADDRESS ?=
ARGS ?=
WORKERS ?= auto
DECISIVE = accelerate|diffusers|easyocr|opencv-python-headless|peft|pillow|torch|torchvision|transformers|ultralytics
RUN = PATH="$$PWD/.venv/bin:$$PATH"

.PHONY: help setup repro test lint hooks lock check-lock profile clean demo-weights demo-measure grid grid-status paper push brand \
	push-experiments pull check-cache pr-repro pr-comment pr-pictures pr-post

help:
	@echo "make repro   set up and run the pipeline on the demo world; ends by naming the report to open"
	@echo "make test    set up and run the tests (WORKERS=auto processes, which divide the cores)"
	@echo "make setup   make .venv from requirements.lock (TORCH=cpu: PyTorch's build without CUDA, 4 GB less)"
	@echo "make profile NAME=sd15  write profiles/sd15.yaml into params.yaml"
	@echo "make lint    ruff, mypy, typos, and a look for secrets and unsafe workflows (make hooks: before every commit)"
	@echo "make lock    renew requirements.lock from pyproject.toml"
	@echo "make check-lock  does dvc.lock fit code, parameters and data? (what a clean clone would run again)"
	@echo "make demo-weights  rebuild demo/weights from nothing (hours on a CPU, minutes on a GPU; resumes)"
	@echo "make demo-measure  measure demo/weights: what the base draws, what the reader reads"
	@echo "make paper   race the paper's 134 models and write its tables and figures (metrics/paper); hours; resumes"
	@echo "make grid    the same without the tables (JOBS=4, ADDRESS=head:6379, ARGS=--exhaustive); grid-status: how far it is"
	@echo "make brand NAME=badge  the whole pipeline on another brand of demo/brands (in .emblem/brands); keeps its numbers"
	@echo "make push, pull, push-experiments, check-cache   share results through a DVC remote"
	@echo "make pr-repro, pr-comment, pr-pictures, pr-post  the steps of a pull request's comment (BASE=main NUMBER=1)"
	@echo "make clean   remove the scratch folders that stages resume from"

setup: .venv/ready

.venv/ready: requirements.lock setup.sh
	@PYTHON="$(PYTHON)" TORCH="$(TORCH)" sh setup.sh

repro: setup
	@$(RUN) dvc repro
	@echo "The report: open metrics/report/index.html"

test: lint
	@$(RUN) python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

lint: setup
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(RUN) sh -euc 'SKIP=ruff,ruff-format,mypy PRE_COMMIT_HOME="$$PWD/.emblem/pre-commit" pre-commit run --all-files'

hooks: setup
	@$(RUN) pre-commit install

lock: setup
	@$(RUN) uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header --no-emit-index-url \
		--no-emit-find-links --group dev pyproject.toml --output-file requirements.lock
	@{ echo "# The libraries whose versions decide numbers, from requirements.lock by \`make lock\`: parameters of dvc.yaml."; \
		sed -nE 's/^($(DECISIVE))==([^ ]+).*/\1: "\2"/p' requirements.lock; } > versions.yaml

# Without its outputs, which are not in git, a clone must know from dvc.lock that no stage has to run.
check-lock: setup
	@$(RUN) sh -euc 'said=$$(dvc repro --allow-missing --dry); echo "$$said"; ! echo "$$said" | grep -q "^Running stage"'

profile: setup
	@$(RUN) python -m stages.params --profile "profiles/$(NAME).yaml"

clean:
	@rm -rf .emblem

# The recipe of demo/weights is frozen in demo/dvc.yaml, so that `dvc repro` takes the shipped weights.
demo-weights: setup
	@$(RUN) sh -euc 'for step in vae clip unet reader detector sums; do python -m demo.$$step; done'
	@$(RUN) dvc commit --force demo/dvc.yaml:vae demo/dvc.yaml:clip demo/dvc.yaml:unet demo/dvc.yaml:reader \
		demo/dvc.yaml:detector demo/dvc.yaml:sums

demo-measure: setup
	@$(RUN) python -m demo.measure

brand: setup
	@$(RUN) python -m demo.brands "$(NAME)" $(ARGS)

grid: setup
	@$(RUN) python -m experiments.grid run $(if $(JOBS),-j $(JOBS)) $(if $(ADDRESS),--address "$(ADDRESS)") $(ARGS)

paper: grid
	@$(RUN) sh -euc 'names=$$(python -m experiments.grid names $(ARGS)); python -m experiments.paper $$names'
	@$(RUN) python -m docs.numbers

grid-status: setup
	@$(RUN) python -m experiments.grid status

push: setup
	@$(RUN) dvc push

push-experiments: setup
	@$(RUN) dvc exp push origin --all-commits

pull: setup
	@$(RUN) dvc pull

check-cache: setup
	@$(RUN) python -m stages.check_cache

pr-repro: setup
	@$(RUN) sh -euc 'if dvc remote default >/dev/null 2>&1; then dvc repro --pull --allow-missing; else dvc repro; fi'

pr-comment: setup
	@$(RUN) python -m experiments.pull_request comment --base $(BASE)

pr-pictures: setup
	@$(RUN) python -m experiments.pull_request pictures --branch emblem-pictures/$(NUMBER)

pr-post: setup
	@$(RUN) python -m experiments.pull_request post --number $(NUMBER)
