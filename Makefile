# fastproxy: `make demo` to see it, `make test` to prove it, `make help` for the rest.
# Everything is installed into .venv; system headers come from apt.

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SHELL := /bin/bash
# What is compiled: an edit of one of these compiles, an edit of any Python file does not.
SOURCES := setup.py $(filter-out fastproxy/_layout.pxi, \
	$(wildcard $(foreach kind,pyx pxd pxi h,fastproxy/*.$(kind) fastproxy/*/*.$(kind))))
BUILT := build/.built
# How it was built last (setup.py writes it). Tests run on a debug build until somebody asks for
# the ordinary one.
MODE := $(findstring debug=True,$(shell cat build/mode 2>/dev/null))
BACK := $(and $(MODE),$(filter build demo bench%,$(MAKECMDGOALS)))
DEBUG := $(if $(BACK),,$(if $(MODE),FASTPROXY_DEBUG=1))
PYTEST := $(PY) -m pytest

.DEFAULT_GOAL := help
.PHONY: help demo build test test-slow test-without debug asan coverage fuzz lint wheel clean setup
.PHONY: bench bench-quick bench-check bench-smoke
ifneq ($(BACK)$(if $(wildcard fastproxy/_core.*.so),,missing),)
.PHONY: $(BUILT)
endif

help:            ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

$(VENV)/.tools: pyproject.toml ci/install-deps
	@ci/install-deps headers $(PYTHON)
	@ci/install-deps venv $(PYTHON) $(VENV)
	@ci/install-deps python $(PY)
	@touch $@

$(VENV)/.tests: $(VENV)/.tools
	@ci/install-deps test-servers
	@ci/install-deps python-test $(PY)
	@ci/install-deps python-scan $(PY)
	@touch $@

$(VENV)/.slow: $(VENV)/.tests
	@ci/install-deps slow-servers
	@touch $@

$(VENV)/.lint: $(VENV)/.tests
	@ci/install-deps python-lint $(PY)
	@touch $@

setup: $(VENV)/.tools

$(BUILT): $(VENV)/.tools $(SOURCES)
	@echo "compiling fastproxy$(if $(DEBUG), with MUST_HOT) ..."
	@$(DEBUG) $(PY) setup.py -q build_ext --inplace
	@touch $@

build: $(BUILT)  ## compile in place (under 2 s when nothing changed)

demo: build      ## fastproxy on 127.0.0.1:8080 before two demo backends (ARGS="--listen :9090")
	@exec $(PY) -m fastproxy demo $(ARGS)

test: $(BUILT) $(VENV)/.tests  ## the whole fast suite
	$(PYTEST) tests $(ARGS)

test-slow: $(BUILT) $(VENV)/.slow  ## soaks, big bodies, packaging: minutes
	$(PYTEST) tests -m slow $(ARGS)

test-without: $(BUILT) $(VENV)/.tests  ## builds without libssl, without libnghttp2: a minute
	$(PYTEST) tests/tidy/test_package_without.py -m slow $(ARGS)

debug: $(VENV)/.tools  ## compile with MUST_HOT asserts and line numbers; `make build` goes back
	@echo "compiling fastproxy with MUST_HOT ..."
	@FASTPROXY_DEBUG=1 $(PY) setup.py -q build_ext --inplace
	@touch $(BUILT)

asan: $(VENV)/.tests  ## ASan and UBSan: raw and flow tests on a build of their own (ARGS=tests/raw)
	@ci/asan $(PY) $(ARGS)

coverage: $(VENV)/.tests  ## which lines of rooms and engine the tests reach: 10 minutes
	@ci/coverage $(PY) $(ARGS)

fuzz: $(BUILT) $(VENV)/.tests  ## bounded fuzz run of every target (FUZZ_SECONDS=20 each)
	$(PY) -m tests.fuzz

bench: build $(VENV)/.tests  ## compare with all proxies that are installed: an hour (ARGS=small)
	$(PY) -m bench $(ARGS)

bench-quick: build $(VENV)/.tests  ## with nginx and HAProxy only, what matters most: 3 minutes
	$(PY) -m bench --quick $(ARGS)

bench-smoke: build $(VENV)/.tests  ## right answers in every scenario? nothing is timed: a minute
	$(PY) -m bench --check --peer nginx --peer haproxy --peer limit $(ARGS)

bench-check: build $(VENV)/.tests  ## instructions of the hot path against bench/budgets.toml
	$(PY) -m bench.budgets $(ARGS)

# A build in which any warning is an error; it serves as the ordinary one, too.
build/.strict: $(VENV)/.lint $(SOURCES)
	@echo "compiling fastproxy, no warning allowed ..."
	@FASTPROXY_STRICT=1 $(PY) setup.py -q build_ext --inplace
	@touch $(BUILT) $@

lint: $(VENV)/.lint build/.strict  ## ruff, mypy, cython-lint, a build without warnings
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	PATH="$(VENV)/bin:$$PATH" $(VENV)/bin/cython-lint fastproxy
	ci/draw_states.py --check

wheel: $(VENV)/.tools  ## build a wheel into dist/
	$(PY) -m pip wheel -q --no-deps -w dist .
	@ls dist/*.whl

clean:           ## remove what was built (the .venv stays)
	rm -rf build dist *.egg-info fastproxy/_layout.pxi
	rm -f fastproxy/*.so fastproxy/_*.c
