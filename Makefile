.DEFAULT_GOAL := help
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Large pages make freshly taken memory several times cheaper for torch on Linux.
export THP_MEM_ALLOC_ENABLE ?= 1

.PHONY: help run test lint types quick docs clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "%-8s %s\n", $$1, $$2}'

.venv/.run: requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/.test: requirements-dev.txt .venv/.run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

run: .venv/.run  ## make the environment, fetch the demo base once, open the dashboard
	-@$(BIN)/python -m core pairs --fetch demo > /dev/null
	$(BIN)/streamlit run app.py

test: .venv/.test lint types  ## lint, types, tests; browser tests where Chromium is found
	$(BIN)/python -m core pairs --fetch demo > /dev/null
	@command -v chromium > /dev/null || echo "Browser tests are skipped: install Chromium (Debian: apt-get install chromium)."
	$(BIN)/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not gpu and not browser"
	$(BIN)/python -m pytest -m "browser and not gpu"

quick: .venv/.test  ## the tests that take under a minute, without the demo pair and the browser
	$(BIN)/python -m pytest -m "not gpu and not slow and not browser" -q

lint: .venv/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/.test
	$(BIN)/mypy

docs: .venv/.test  ## write the pages that are generated from the code
	$(BIN)/python docs/make_contract.py

clean:  ## remove the environment and every cache
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis
