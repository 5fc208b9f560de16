# Everything a newcomer runs. `make` alone lists the targets.

PYTHON ?= python3
WORKERS ?= 2
DATA ?= data
BIN := .venv/bin

# The value of CDA reaches the command as it was typed: spaces, accents and dollars included.
override export CDA := $(value CDA)
override export DATA := $(value DATA)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo serve test test-slow blackbox mutations bench interop-node interop-java interop-dss lint docs wheel clean lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: .venv/.ready ## the carnet command in .venv/bin

demo: .venv/.ready ## one patient's document deposited, found and retrieved; CDA=file.xml to use yours
	@$(BIN)/carnet demo $${CDA:+--cda "$$CDA"}

serve: .venv/.ready ## registry and repository, data in DATA (default: data)
	@$(BIN)/carnet init --if-missing --data "$$DATA"
	@exec $(BIN)/carnet serve all --data "$$DATA"

test: lint ## lint, then every test but the slow and the black-box ones
	$(BIN)/python -m pytest -rs -m "not slow and not blackbox" -n $(WORKERS)

test-slow: .venv/.ready ## large documents, soak and kill campaigns
	$(BIN)/python -m pytest -m slow

blackbox: .venv/.ready ## a stranger's conformance kit against the served processes
	$(BIN)/python -m pytest -m blackbox tests/blackbox

COUNT ?= 100000
SEED ?= 1
mutations: .venv/.ready ## COUNT mutations of signed envelopes (default 100000): refused, or the same as signed
	$(BIN)/python -m tests.attack.mutation_campaign --count $(COUNT) --seed $(SEED) --processes $(WORKERS)

bench: .venv/.ready ## measure this machine: requests, then what a credential costs each
	@$(BIN)/carnet bench
	@$(BIN)/carnet bench --credentials

interop-node: ## install the Node.js stacks that tests/interop drives (build/interop-node)
	@mkdir -p build/interop-node
	@cp tests/interop/node/package.json tests/interop/node/package-lock.json build/interop-node/
	npm ci --prefix build/interop-node --no-audit --no-fund

interop-dss: ## install the XAdES implementation in Java that tests/interop drives (build/interop-dss)
	@mkdir -p build/interop-dss
	mvn -q -f tests/interop/dss/pom.xml dependency:copy-dependencies -DoutputDirectory="$(CURDIR)/build/interop-dss"
	javac -cp "build/interop-dss/*" -d build/interop-dss tests/interop/dss/Dss.java

interop-java: ## install the Java SAML stack that tests/interop drives (build/interop-java); needs a JDK and Maven
	@mkdir -p build/interop-java
	@cp tests/interop/java/pom.xml build/interop-java/
	cd build/interop-java && mvn --quiet --batch-mode dependency:copy-dependencies -DoutputDirectory=lib
	javac -d build/interop-java/classes -cp 'build/interop-java/lib/*' tests/interop/java/Assertions.java

lint: .venv/.ready ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/mypy docs/traceability.py
	$(BIN)/mypy docs/errors.py
	$(BIN)/mypy docs/conformance.py

docs: .venv/.ready ## rewrite the generated pages: traceability, errors, conformance
	$(BIN)/python docs/traceability.py
	$(BIN)/python docs/errors.py
	$(BIN)/python docs/conformance.py

wheel: .venv/.ready ## build dist/carnet-*.whl
	$(BIN)/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist .

clean: ## remove what make has built; never your data
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

lock: ## resolve requirements.lock again from pyproject.toml (Python 3.11 to 3.13)
	$(call require_python)
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet uv
	build/lock/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	  --custom-compile-command "make lock" --extra dev pyproject.toml -o requirements.lock

define require_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
  echo "Carnet needs Python 3.11 or newer; \"$(PYTHON)\" is missing or older." >&2; \
  echo "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
endef

# Exactly what the lock names, hashes checked; built again whenever the lock changes.
.venv/.locked: requirements.lock
	$(call require_python)
	@echo "Creating .venv from requirements.lock"
	@rm -rf .venv
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	@touch $@

.venv/.ready: .venv/.locked pyproject.toml
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
