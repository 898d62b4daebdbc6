# Each target sets up .venv from nothing, once. Another interpreter: make run PYTHON=python3.13
PYTHON ?= python3
PY := .venv/bin/python
PIP := $(PY) -m pip install --disable-pip-version-check
LOG := .venv/install.log
# Two test workers with one thread each; torch would otherwise start one thread per core in both.
WORKERS ?= 2

.PHONY: help run test lab bench site
.DELETE_ON_ERROR:

help:
	@echo "make run    run the three notebooks and print the result table (minutes)"
	@echo "make lab    open copies of the notebooks in JupyterLab, in work/"
	@echo "make test   check everything"
	@echo "make bench  measure speed, memory and quality"
	@echo "make site   build the course as web pages"

# What an installation says goes into a file. Where it fails, the end of that is shown, and the file stays.
quietly = { $(1); } > $(LOG) 2>&1 || { tail -n 15 $(LOG); echo "The installation failed. All that it said: $(LOG)"; exit 1; }

# A name of its own, because a comma would end what is called.
EXTRAS := .[dev,scale,site]

# A stamp is written only after its installation has finished: an interrupted one starts again.
.venv/.course: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python %d.%d is too old, expected 3.11 or newer: install one and name it, as in make run PYTHON=python3.12" % sys.version_info[:2])'
	@echo "Setting up .venv, once. This takes some minutes, most of them for torch, and says nothing meanwhile ..."
	@mkdir -p .venv
	@$(call quietly,$(PYTHON) -m venv .venv && $(PIP) -r requirements.txt)
	@touch $@
	@echo "Setting up .venv: done."

.venv/.dev: .venv/.course
	@echo "Adding to .venv, once, what tests and benchmarks need: a minute ..."
	@$(call quietly,$(PIP) -e "$(EXTRAS)")
	@touch $@

.venv/.site: .venv/.course
	@echo "Adding to .venv, once, what web pages need: a minute ..."
	@$(call quietly,$(PIP) -e ".[site]")
	@touch $@

run: .venv/.course
	@$(PY) -m vidlib run --profile laptop --out runs

lab: .venv/.course
	@$(PY) -m vidlib lab

# .smoke holds the notebooks with the smoke parameters and their saved outputs. nbval executes them and compares.
test: export VIDLIB_RUNS := $(CURDIR)/.smoke/runs
test: export OMP_NUM_THREADS := 1
test: .venv/.dev
	@# A browser for the pages, where it can be had; without one their test says that it is skipped.
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && timeout 300 sh -c "apt-get update && apt-get install -y --no-install-recommends chromium"; } >/dev/null 2>&1 || true
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	rm -rf .smoke
	$(PY) -c 'from vidlib.batch.authoring import prepare_notebooks; prepare_notebooks("smoke", ".smoke")'
	@# The longest file comes first, and none is moved: the processes end together.
	$(PY) -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --doctest-modules \
		--nbval-lax --nbval-current-env --nbval-cell-timeout 120 tests/test_rerun.py tests vidlib .smoke

bench: .venv/.dev
	$(PY) -m benchmarks

# A warning, such as a link that leads nowhere, stops it. Nothing is executed.
site: .venv/.site
	rm -rf _site build/doctrees
	$(PY) -m vidlib.lab.export build/lab
	$(PY) -m sphinx -q -W --keep-going -b html -d build/doctrees -c site . _site
	@echo "Pages: _site/index.html"
