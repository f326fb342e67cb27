# make demo    policy -> signed snapshot -> sidecar -> real Envoy, before your eyes (KEEP=1: stays up)
# make test    all tests, with the real Envoy and the real nginx
# make bench   benchmarks, some minutes; make bench-full: more sizes and rounds; the report: benchmarks/results/
# make lint types proto clean
.PHONY: demo test lint types style proto bench bench-full constraints system clean
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The virtual environment: exactly the pinned, hashed packages, then this project as an editable install.
$(STAMP): constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("authz needs Python 3.11 or newer; set PYTHON=")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r constraints.txt
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	    --no-build-isolation --editable .
	touch $@

# Debian packages that tests and benchmarks use: installed when root, named otherwise.
system:
	@sh tests/system-packages nginx-light:nginx

demo: $(STAMP)
	$(BIN)/python examples/demo.py $(if $(KEEP),--keep) $(if $(DEMO_DATA),--data $(DEMO_DATA))

test: $(STAMP) system
	$(BIN)/python -m pytest $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

style: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(STAMP)
	$(BIN)/mypy

# Generated code is checked in; tests/test_generated.py compares it.
proto: $(STAMP)
	$(BIN)/python -m grpc_tools.protoc -I authz/wire=proto/authz --python_out=. --pyi_out=. \
	    authz/wire/envoy/v3/check.proto authz/wire/snapshot/v1/snapshot.proto

bench: $(STAMP)
	@sh tests/system-packages wrk:wrk nghttp2-client:h2load nginx-light:nginx
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-full:
	$(MAKE) bench ARGS="--full $(ARGS)"

# Pins what pyproject.toml asks for; ARGS=--upgrade pins everything anew. deploy/requirements.txt is what the image installs.
PIN := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate
constraints:
	test -x $(BIN)/uv || $(MAKE) $(STAMP)
	$(BIN)/$(PIN) $(ARGS) --extra publish --extra kms --extra stores --extra control --extra dev \
	    -o constraints.txt pyproject.toml
	$(BIN)/$(PIN) -c constraints.txt -o deploy/requirements.txt pyproject.toml
	$(BIN)/python -c 'import pathlib, re; print(re.search(r"^setuptools==(?:.*\\\n)+.*$$", \
	    pathlib.Path("constraints.txt").read_text(), re.M)[0])' > deploy/build-requirements.txt

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
