# run, test, lint, bench: each makes .venv when it is missing, then does its one thing.
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/quickstart
# Two processes: most of the time goes into compiling, which takes one core. A GPU is shared by both.
PYTEST := XLA_PYTHON_CLIENT_PREALLOCATE=false $(BIN)/python -m pytest -n 2 --dist=worksteal

.PHONY: run test test-full lint bench

run: .venv/run
	$(BIN)/python -m launch.train --config=experiments/gru_lm/config.py:quickstart --workdir=$(WORKDIR)
	$(BIN)/python -m launch.evaluate --workdir=$(WORKDIR) --split=test
	$(BIN)/python -m launch.sample --workdir=$(WORKDIR) --prompt="def " --length=600

test: .venv/test
	$(PYTEST)

test-full: .venv/test
	$(PYTEST) -m "full or not full"

lint: .venv/test
	$(BIN)/ruff check .

bench: .venv/bench
	$(BIN)/python -m benchmarks.recurrent
	$(BIN)/python -m benchmarks.gradients
	$(BIN)/python -m benchmarks.resnet
	$(BIN)/python -m benchmarks.attention
	$(BIN)/python -m benchmarks.transformer
	$(BIN)/python -m benchmarks.gpt
	$(BIN)/python -m benchmarks.beam_search
	$(BIN)/python -m benchmarks.sharding
	$(BIN)/python -m benchmarks.cpu_devices

# A mark for each set of extras, so that it is installed once and again when setup.py changes.
.venv/%: setup.py
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dlx needs Python 3.11 or newer; name one with: make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable $(if $(filter run,$*),.,".[$*]")
	touch $@
