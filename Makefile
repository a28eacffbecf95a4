# `make demo` and `make test` need nothing but a Python >= 3.11 and a package index.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
LIGHT := $(VENV)/.installed-light
DOCS := $(VENV)/.installed-docs
INSTALL := $(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt
DATA := $(firstword $(DANMAX_TEST_DATA) $(wildcard ../shared/data))
export OMP_NUM_THREADS ?= 2
unexport PYTHONDONTWRITEBYTECODE  # each process would compile thousands of files of libraries anew: seconds at every start

.PHONY: help install demo test unit lint types layers docs generated bench campaign wheel clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 12

$(BIN)/uv:
	@echo "make: a virtual environment in $(VENV), by $$($(PYTHON) --version)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

$(LIGHT): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "make: what measuring needs, some 95 packages, 1 GB on disk; a minute or two the first time"
	$(INSTALL) --editable .
	touch $@

$(DOCS): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "make: what the documentation's site needs"
	$(INSTALL) --editable '.[docs]'
	touch $@

$(INSTALLED): pyproject.toml constraints.txt | $(BIN)/uv
	@echo "make: everything, also what only tests and developers need: some 300 packages, 2 GB on disk; some minutes"
	$(INSTALL) --editable '.[dev]'
	touch $@ $(LIGHT) $(DOCS)

install: $(INSTALLED)  ## everything into .venv

demo: $(LIGHT)  ## measure a tomography and a powder pattern on the simulated beamline
	@echo "make: danmax demo measures, reconstructs and integrates"
	$(BIN)/danmax demo --out danmax-demo $(if $(DATA),--data $(DATA))

test: lint types layers  ## lint, types, layers, and every test
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder  # two cores, and many wait for real time; short files come last

unit: install  ## the fast tests alone
	$(BIN)/python -m pytest tests/unit -n 2 --dist loadfile

lint: install  ## ruff
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install  ## pyright
	$(BIN)/pyright

layers: install  ## who may import whom
	$(BIN)/lint-imports

docs: $(DOCS)  ## the documentation as a site, in build/docs; warnings are errors
	$(BIN)/python -m sphinx -W --keep-going -q -j auto -b html docs build/docs
	@echo "make: open build/docs/index.html"

generated: install  ## write again what is made from the descriptions of options: reference pages, keywords
	$(BIN)/python -m danmax_bluesky.testing.generated
	$(BIN)/ruff format src/danmax_bluesky/tomography/scan_arguments.py

bench: install  ## benchmarks; prints tables
	for file in benchmarks/bench_*.py; do $(BIN)/python $$file || exit 1; done

campaign: install  ## the long fault campaigns
	$(BIN)/python -m pytest -m campaign

wheel: install  ## a wheel in dist/
	$(BIN)/python -m build --wheel

clean:  ## remove what the build made
	rm -rf $(VENV) build dist docs/reference/generated danmax-demo .pytest_cache .ruff_cache
