# fastproxy: `make demo` to see it, `make test` to prove it, `make help` for the rest.
# Everything is installed into .venv; system headers come from apt.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SHELL := /bin/bash
SOURCES := $(wildcard fastproxy/*.pyx fastproxy/*.pxd fastproxy/*/*.pxd fastproxy/*/*.pxi fastproxy/*/*.h) setup.py
BUILT := build/.built

.DEFAULT_GOAL := help
.PHONY: help demo build test test-slow debug asan fuzz bench bench-quick lint wheel clean setup

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

$(VENV)/.tools: pyproject.toml ci/install-deps
	@ci/install-deps headers
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@ci/install-deps python $(PY)
	@touch $@

$(VENV)/.tests: $(VENV)/.tools
	@ci/install-deps test-servers
	@ci/install-deps python-test $(PY)
	@touch $@

setup: $(VENV)/.tools

$(BUILT): $(VENV)/.tools $(SOURCES)
	@echo "compiling fastproxy._core ..."
	@$(PY) setup.py -q build_ext --inplace
	@mkdir -p build && touch $@

build: $(BUILT)  ## compile in place (under 2 s when nothing changed)

demo: build      ## start fastproxy on 127.0.0.1:8080 before two demo backends (ARGS="--listen :9090")
	@exec $(PY) -m fastproxy demo $(ARGS)

test: build $(VENV)/.tests  ## the whole fast suite
	$(PY) -m pytest tests

test-slow: build $(VENV)/.tests  ## soaks and big bodies: minutes
	$(PY) -m pytest tests -m slow

debug:           ## compile with MUST_HOT asserts and line numbers
	@$(MAKE) --no-print-directory $(VENV)/.tools
	FASTPROXY_DEBUG=1 $(PY) setup.py -q build_ext --inplace --force
	@mkdir -p build && touch $(BUILT)

asan: $(VENV)/.tests  ## build with ASan and UBSan, then the raw and flow tests on it
	@ci/asan

fuzz: build $(VENV)/.tests  ## bounded fuzz run of every target (FUZZ_SECONDS=20 each)
	$(PY) -m tests.fuzz

bench: build $(VENV)/.tests  ## compare with nginx and HAProxy on this machine: 8 minutes
	$(PY) -m bench $(ARGS)

bench-quick: build $(VENV)/.tests  ## the same in 3 minutes
	$(PY) -m bench --quick $(ARGS)

lint: $(VENV)/.tests  ## ruff, mypy, cython-lint
	@ci/install-deps python-lint $(PY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(VENV)/bin/cython-lint fastproxy

wheel: $(VENV)/.tools  ## build a wheel into dist/
	$(PY) -m pip wheel -q --no-deps -w dist .
	@ls dist/*.whl

clean:           ## remove what was built (the .venv stays)
	rm -rf build dist *.egg-info fastproxy/*.so fastproxy/*.c fastproxy/_layout.pxi
