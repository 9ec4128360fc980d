# The two commands of the README. Both make .venv on first use and work on a fresh machine with Python 3.10+.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test coverage slow gpu clean

demo: $(VENV)/.all
	$(BIN)/ticket-sig demo
	$(BIN)/ticket-sig extract checkpoints/resnet20-cifar10

test: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# Counting lines takes more than half of the tests' time again: too long beside them on 2 cores.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal --cov --cov-report=term:skip-covered --cov-fail-under=90 -m "not slow"

slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# For a machine with a GPU that is lent for minutes: its own Python, and nothing is installed.
GPU_PYTHON ?= python3
DATA ?= data/cifar-10-batches-py
RUN ?= runs/gpu
OUT ?= runs/gpu-out
MINUTES ?= 9
STEPS ?= tests epoch find

gpu:
	$(GPU_PYTHON) benchmarks/gpu.py --minutes $(MINUTES) --data $(DATA) --run $(RUN) --out $(OUT) \
		$(if $(RESUME),--resume $(RESUME)) --steps $(STEPS) -- $(FIND)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# The extra `dev` includes `all`, so either command can come first.
$(VENV)/.all $(VENV)/.dev: $(VENV)/.%: $(VENV)/bin/python setup.cfg constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	@touch $@

clean:
	rm -rf $(VENV) ticket-sig-demo .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage*
