# Everything a user or CI calls. `make` alone explains the targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
SOURCES := pyproject.toml setup.py $(shell find bench_cli -name '*.p[yx]x' -o -name '*.p[xy][di]' -o -name '*.h')
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help bench bench-python test install lint types unit smoke check-limits soak sanitize sanitize-threads clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-16s %s\n", $$1, $$2}'
	@echo '  ARGS="..." is handed to bench, e.g.  make bench ARGS=--quick'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(STAMP): $(SOURCES) | $(BIN)/python
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(DEV_STAMP): $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

install: $(STAMP) ## set up .venv with the tool and its compiled twins

bench: $(STAMP) ## run the shipped scenarios, print the tables, leave a result file under results/
	$(BIN)/bench run $(ARGS)

bench-python: $(STAMP) ## the same on the Python twins
	$(BIN)/bench run --core python $(ARGS)

test: lint types unit smoke ## lint, strict types, all tests on both twins, a smoke run of every scenario

lint: $(DEV_STAMP)
	$(BIN)/ruff check bench_cli tests setup.py
	$(BIN)/ruff format --check bench_cli tests setup.py

types: $(DEV_STAMP)
	$(BIN)/mypy

unit: $(DEV_STAMP)
	$(BIN)/pytest -n 2

# exit 14 is a requirement that this machine misses today: a matter of speed, not of this test
smoke: $(STAMP)
	$(BIN)/bench run --quick -o _tmp/smoke-shipped.json || [ $$? -eq 14 ]
	$(BIN)/bench run smoke --core python -o _tmp/smoke-python.json || [ $$? -eq 14 ]

check-limits: $(STAMP) ## are our limits as fast as independent C loops? (needs a quiet machine)
	$(BIN)/python -m tests.limits.check

soak: $(STAMP) ## threads at random on the block cache, longer than the tests do it
	$(BIN)/python -m tests.cache.soak $(ARGS)

sanitize: $(DEV_STAMP) ## the compiled twins under AddressSanitizer and UBSan; any finding fails
	$(BIN)/python -m tests.sanitize.run memory $(ARGS)

sanitize-threads: $(DEV_STAMP) ## and under ThreadSanitizer
	$(BIN)/python -m tests.sanitize.run threads $(ARGS)

clean: ## empty _tmp/
	find _tmp -mindepth 1 ! -name .gitkeep -delete
