# Everything is written to .venv and .airflow. `make help` lists the commands.
SHELL := /bin/bash
.DEFAULT_GOAL := help

AIRFLOW_PORT ?= 8080
EMULATOR_PORT ?= 8085
PYTHON ?= $(shell for v in 3.12 3.11 3.13 3; do command -v python$$v && python$$v -c '' && break; done 2>/dev/null | tail -n 1)
UV := 0.13.9

export AIRFLOW_PORT EMULATOR_PORT
export AIRFLOW_HOME := $(CURDIR)/.airflow

# A misspelt variable would be ignored: name the nearest one that exists.
VARIABLES := AIRFLOW_PORT EMULATOR_PORT PYTHON DATASET VALIDATION PROMPT RESPONSE TASK MODEL EPOCHS FORMAT CONVERT NAME RUNS SEED AIRFLOW SHELL
NEAREST := import difflib, sys; name, *known = sys.argv[1:]; \
	near = difflib.get_close_matches(name.upper(), known, 1, 0.5); \
	print(f"did you mean {near[0]}?" if near else "")
ifeq ($(MAKELEVEL),0)
unknown := $(firstword $(filter-out $(VARIABLES) MAKE%,$(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))))
ifneq ($(unknown),)
near := $(shell $(PYTHON) -c '$(NEAREST)' '$(unknown)' $(VARIABLES) 2>/dev/null)
$(error $(unknown): unknown variable, $(or $(near),expected one of $(VARIABLES)))
endif
endif

BIN := .venv/bin
READY := .venv/.ready

.PHONY: help setup demo up down check docs test test-fast test-versions wheels chaos bench-triggerer bench-dataset bench-promotion screenshots check-data constraints

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## create the environment (.venv)

$(READY): requirements.txt requirements-dev.txt constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11, 3.12 or 3.13 is needed and none was found; name one: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || { echo "$(PYTHON) is $$($(PYTHON) --version), expected Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@echo "Creating .venv with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV)
	@UV_CACHE_DIR=.venv/.uv $(BIN)/uv pip install --quiet --system-certs --python $(BIN)/python -r requirements-dev.txt -c constraints.txt
	@rm -rf .venv/.uv
	@touch $(READY)

# Only variables of make's command line: a shell's environment may have a NAME, too. The recipe's shell reads them unchanged.
columns = $(if $(filter command,$(origin PROMPT) $(origin RESPONSE)),--columns "prompt=$${PROMPT:-prompt}$(comma)response=$${RESPONSE:-response}")
comma := ,
option = $(if $(filter command,$(origin $(1))),--$(2) "$$$(1)")

demo: $(READY) ## retrain a model from start to end; your own data: DATASET=… PROMPT=… RESPONSE=… VALIDATION=… TASK=… NAME=…
	@$(BIN)/python -m include.local demo $(call option,DATASET,dataset) $(call option,VALIDATION,validation) \
		$(call option,PROMPT,prompt) $(call option,RESPONSE,response) $(call option,TASK,task) $(call option,NAME,name)

check-data: $(READY) ## check and price a dataset: DATASET=… VALIDATION=… PROMPT=… RESPONSE=… TASK=… MODEL=… EPOCHS=… FORMAT=… CONVERT=…
	@test -n "$$DATASET" || { echo "DATASET: not given, expected a file: make check-data DATASET=train.jsonl" >&2; exit 2; }
	@PYTHONPATH=plugins $(BIN)/python -m vertex_tuning check $(call option,VALIDATION,validation) $(call columns) \
		$(call option,TASK,task) $(call option,MODEL,base-model) $(call option,EPOCHS,epochs) $(call option,FORMAT,format) \
		$(call option,CONVERT,convert) -- "$$DATASET"

up: $(READY) ## start Airflow and the local Google Cloud and leave them running
	@$(BIN)/python -m include.local up

down: $(READY) ## stop what `make up` started
	@$(BIN)/python -m include.local down

check: $(READY) ## format, lint, types, who may import whom, and the documentation
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@PYTHONPATH=plugins:. $(BIN)/lint-imports --no-cache
	@$(BIN)/mypy
	@$(MAKE) --no-print-directory docs

docs: $(READY) ## build the documentation into site/, strictly: a link that leads nowhere is an error
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test: $(READY) ## the whole test suite
	@$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/stacks
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/stacks # whole Airflows: two at a time, and no other tests at the same time

test-fast: $(READY) ## the tests that start no process, in under a minute
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit

test-versions: $(READY) ## the tests on each supported Airflow and Python, in clean environments; one of them: AIRFLOW=3.3.0
	@$(BIN)/python -m tests.versions $(call option,AIRFLOW,airflow)

wheels: $(READY) ## build the package and the local Google Cloud into dist/
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/python -m build --no-isolation --outdir dist include/gcp_emulator >/dev/null
	@ls dist

chaos: $(READY) ## kill and stall parts of a running stack at random; RUNS=n SEED=s
	@$(BIN)/python -m tests.stacks.chaos $(if $(RUNS),--runs $(RUNS)) $(if $(SEED),--seed $(SEED))

bench-triggerer: $(READY) ## 1,000 waiting sensors in one triggerer, compared with the Google provider's
	@$(BIN)/python -m tests.stacks.bench_triggerer

bench-dataset: $(READY) ## checking and uploading 200,000 rows, compared with the usual ways
	@$(BIN)/python -m tests.bench_dataset
	@$(BIN)/python -m tests.bench_upload

bench-promotion: $(READY) ## how often models of known quality are promoted by the default rule
	@$(BIN)/python -m tests.bench_promotion

screenshots: $(READY) ## take the pictures of the documentation again
	@$(BIN)/python -m tests.stacks.screenshots

constraints: $(READY) ## resolve all versions again
	@$(BIN)/uv pip compile --quiet --system-certs --no-cache --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
		--no-header --no-annotate requirements-dev.txt -o constraints.txt
