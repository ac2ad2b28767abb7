# memtwin: `make demo` shows the main job on a real program, `make test` proves the house. `make help` lists the rest.
SHELL := /bin/sh
VENV := .venv
export PATH := $(CURDIR)/.venv/bin:$(PATH)  # the build finds meson, ninja and cython there
PY := $(VENV)/bin/python
SOURCES := $(shell find src meson.build pyproject.toml -type f -not -name '*.pyc')

.DEFAULT_GOAL := help
.PHONY: help demo install test agreement lab-browser verify-kernel verify-long verify-layout check docs bench clean libcs

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

install: $(VENV)/installed ## build and install memtwin into .venv

$(VENV)/ready: pyproject.toml scripts/setup
	@scripts/setup
	@touch $@

$(VENV)/installed: $(VENV)/ready $(SOURCES)
	@$(PY) -m pip install --quiet --no-build-isolation --no-deps --force-reinstall -Cbuild-dir=build .
	@touch $@

demo: install ## record, replay and explain a program that fragments its heap
	@mkdir -p build
	@$${CC:-cc} -O2 -o build/fragment examples/fragment.c
	$(VENV)/bin/memtwin run -o build/demo-trace -- build/fragment
	$(VENV)/bin/memtwin replay build/demo-trace --set mmap_threshold=128KiB

$(VENV)/%-ready: pyproject.toml $(VENV)/ready  # what a group of pyproject.toml names
	@$(PY) -m pip install --quiet --disable-pip-version-check --group $*
	@touch $@

test: install $(VENV)/test-ready $(VENV)/docs-ready ## all tests, compiled; one leg uncompiled
	@scripts/system-packages
	@$(PY) -m memtwin.host.libcs >/dev/null || echo "memtwin: not all C libraries could be fetched; their tests are skipped" >&2
	$(PY) -m pytest -m "not long"

lab-browser: install $(VENV)/test-ready ## every lesson in both languages in a real Chromium
	$(PY) -m pytest tests/lab/test_browser.py

libcs: install ## fetch the C libraries of other releases that the twin is checked against
	$(PY) -m memtwin.host.libcs

agreement: install ## record real programs and replay them: every address must be the one that the program got
	$(PY) -m tests.agreement

verify-kernel: install ## a million random operations on the twin and on the real kernel, compared
	$(VENV)/bin/memtwin verify kernel --ops 1000000

verify-long: install ## 100 million allocator calls on the twin and on all releases' real C libraries together, compared; half an hour
	$(VENV)/bin/memtwin verify libc --glibc all --ops 100000000

verify-layout: install ## 10,000 random C declarations a data model, laid out by memtwin and by gcc
	$(PY) scripts/verify-layout

check: install $(VENV)/check-ready $(VENV)/test-ready docs ## style, types, docs
	$(VENV)/bin/ruff check src tests docs benchmarks
	$(VENV)/bin/ruff format --check src tests docs benchmarks
	$(VENV)/bin/mypy --strict

docs: install $(VENV)/docs-ready ## the guide, in English and Korean, below build/guide
	@$(PY) -m sphinx -q -W -b html docs build/guide/en
	@$(PY) -m sphinx -q -W -b html -D language=ko docs build/guide/ko

bench: install $(VENV)/bench-ready ## ours beside the peers: each of benchmarks/*.py in turn
	@for benchmark in benchmarks/*.py; do echo "== $$benchmark"; $(PY) $$benchmark || exit 1; done

clean: ## forget everything that was built
	rm -rf $(VENV) build
