# make demo: the main job on its defaults. make test: linters, types, tests. make campaign: kills, damage, bad input and
# more, at random, for a few minutes (docs/reliability.md). Each makes the environment that it needs.
PYTHON ?= python3
PIP_ARGS ?=
SEED ?= 1
BIN := .venv/bin
INSTALL = $(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt

.PHONY: demo test lint campaign clean

demo: .venv/run
	$(BIN)/python sample.py

test: lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

campaign: .venv/dev
	PYTHONPATH=tests:. $(BIN)/python -m campaign --seed $(SEED)

# Two stamps: what a run needs (with ST-LPIPS, one of its figures), and what the tests need beside it.
.venv/run: pyproject.toml constraints.txt
	$(INSTALL) -e ".[perceptual]"
	touch $@

.venv/dev: pyproject.toml constraints.txt
	$(INSTALL) -e ".[dev]"
	touch .venv/run $@

clean:
	rm -rf .venv  # outputs/ and multirun/ are results
