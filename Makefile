# Every Token Counts: `make` alone lists what can be made.
PYTHON ?= python3
BIN := .venv/bin
NOTEBOOKS := $(wildcard chapters exercises solutions)
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
# After a warning nothing is kept, or the next build would not repeat it.
SITE = $(BIN)/jupyter-book build . -q -W -n --keep-going $(1) \
       || { rm -rf _build/.doctrees; exit 1; }
NBVAL := $(BIN)/pytest --nbval --nbval-current-env --nbval-cell-timeout 300 \
         -n 2 --dist loadfile

.PHONY: help book test test-portable lab lib run exercises grade bench pretrained clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

book: .venv/book lib  ## build the site into _build/html
	$(call SITE)
	@echo "Open _build/html/index.html"

test: .venv/test  ## run every gate: library, style, types, site, notebooks, tests
	$(BIN)/python tools/weave.py --check
	$(BIN)/python tools/strip.py --check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(call SITE,--all)
	$(NBVAL) $(NOTEBOOKS) tests

test-portable: .venv/test  ## check the notebooks' digits as another processor computes them
	ATEN_CPU_CAPABILITY=default $(NBVAL) $(NOTEBOOKS)

lab: .venv/book lib  ## open the chapters in JupyterLab
	$(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" chapters/index.md

lib: .venv/book  ## weave the library from the chapters
	$(BIN)/python tools/weave.py

run: .venv/book  ## run all notebooks again and store their outputs (NB=chapters/NN_name.ipynb for one)
	$(BIN)/python tools/run.py $(NB)

exercises: .venv/book lib  ## make the exercises from the solutions (FORCE=1: anew, answers kept in kept/)
	$(BIN)/python tools/strip.py $(if $(FORCE),--force)

grade: .venv/book lib  ## score your own exercises (CHAPTER=3 for one; ARGS="--html report.html")
	@$(BIN)/python tools/grade.py $(CHAPTER) $(ARGS)

pretrained: .venv/book lib  ## train the book's own model again (hours; stops and goes on; needs the books)
	$(BIN)/python tools/pretrained.py

bench: .venv/test  ## compare speed with transformers and tokenizers
	OMP_NUM_THREADS=2 $(BIN)/python tools/bench.py

clean:  ## remove what was built; .venv stays
	rm -rf _build .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

.venv/book: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; \
		sys.exit(None if v >= (3, 10) else "The book needs Python 3.10 or \
	newer, and $(PYTHON) is %d.%d. Try: make PYTHON=python3.12" % v[:2])'
	$(PYTHON) -m venv .venv
	$(INSTALL) --requirement requirements.txt
	$(INSTALL) --no-deps --config-settings editable_mode=compat --editable .
	@touch $@

.venv/test: .venv/book
	$(INSTALL) --constraint requirements.txt --editable '.[test]' \
		--config-settings editable_mode=compat
	@touch $@
