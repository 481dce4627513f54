# Each target makes .venv if it is missing and installs what it needs: `make test` is enough on a fresh checkout.
PYTHON ?= python3
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help venv test demo lint format

help:
	@echo "make test    run all tests that CI runs"
	@echo "make demo    run the demonstration"
	@echo "make lint    check style, types, import directions and sizes"
	@echo "make format  mend what the formatter and linter can mend themselves"
	@echo "make venv    only make the environment"

venv: .venv/installed

# torch goes first: a build of it that is already at hand must satisfy everything that follows.
.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0 -c constraints.txt
	$(BIN)/python -m pip install --quiet -e '.[train,search,ray,gguf,report,harness,dev]' -c constraints.txt
	touch $@

test: venv
	$(BIN)/python -m pytest -m "not nightly"

demo: venv
	$(BIN)/python demo/run.py

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_size.py

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
