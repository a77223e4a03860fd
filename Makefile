# Everything happens in .venv and try/; nothing outside this folder is changed,
# except that `make test` installs bsdtar, 7zz, tmux, faketime and Chromium, and `make bench` pigz, from the system's
# packages where they are missing.

PYTHON ?= python3
BIN := .venv/bin
# Else each of the thousands of commands that tests run compiles mgmt anew.
unexport PYTHONDONTWRITEBYTECODE
# Tests wait for the processes they start: three workers keep two cores busy.
WORKERS := 3

.DEFAULT_GOAL := help
.PHONY: help try setup test coverage lint format docs pictures bench mutation faults clean tools bench-tools

help:  ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { \
	  line = sprintf("  make %-8s", $$1); count = split($$2, words, " "); \
	  for (i = 1; i <= count; i++) { \
	    if (length(line " " words[i]) > 79) { print line; line = sprintf("%15s", "") } \
	    line = line " " words[i] \
	  } print line }' $(MAKEFILE_LIST)

try: .venv/runtime.done  ## Upload a sample (or FILE=/path) to a service of your own on this machine
	@$(BIN)/python -m mgmt_local.demo $(if $(FILE),"$(FILE)")

setup: .venv/tools.done  ## Make the whole development environment in .venv

test: setup tools  ## Run all tests (WORKERS=6 on four cores)
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --inputs-table=build/inputs.md

coverage: setup tools  ## Run all tests and say which lines and branches of client and service none of them reaches
	@rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder
	@echo "putting the processes' data together; of one that a test has killed there may be half a file, which is left out"
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: .venv/dev.done  ## Check style, types and the walls between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(call check-for,win32)
	$(call check-for,darwin)
	$(BIN)/lint-imports

format: .venv/dev.done  ## Format the code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

docs: .venv/dev.done  ## Generate what the documents generate
	$(BIN)/python -m mgmt_api.openapi
	PYTHONPATH=infra:tests $(BIN)/python tests/support/generated_docs.py

pictures: setup tools  ## Draw the README's pictures anew, from a real upload
	@PYTHONPATH=tests $(BIN)/python tests/support/pictures.py

bench: .venv/bench.done bench-tools  ## Measure mgmt beside what else there is (QUICK=1 in minutes; SEED=2, ONLY="pack-text carry", DOCS=1)
	@PYTHONPATH=tests $(BIN)/python -m bench $(if $(QUICK),--scale quick) $(if $(SEED),--seed $(SEED)) \
	  $(if $(DOCS),--json docs/benchmark.json --pictures docs/pictures) $(ONLY)

faults: setup tools  ## Kill commands, break their network, call the service in any order (half an hour; SEED=2, ONLY="kills soak", KILLS=500 CASES=300 UPLOADS=2000 REQUESTS=20000 WALKS=2000 SAFE=1000, DOCS=1)
	@PYTHONPATH=tests $(BIN)/python -m support.breaking $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) \
	  $(if $(CASES),--cases $(CASES)) $(if $(UPLOADS),--uploads $(UPLOADS)) $(if $(WALKS),--walks $(WALKS)) \
	  $(if $(REQUESTS),--requests $(REQUESTS)) $(if $(SAFE),--safe-faults $(SAFE)) --json $(if $(DOCS),docs/faults.json,build/faults.json) $(ONLY)

mutation: .venv/mutation.done  ## Change the code on purpose and count what the tests notice (hours; ONLY="mgmt_contract.names*")
	@PYTHONPATH=tests $(BIN)/python -m support.mutation $(if $(ONLY),"$(ONLY)")

clean:  ## Stop what `make try` left and remove everything that was made
	@if [ -x $(BIN)/python ] && [ -d try ]; then $(BIN)/python -m mgmt_local.demo --stop; fi
	rm -rf .venv try dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find client lambda infra tests -name __pycache__ -prune -exec rm -rf {} +

# $(call check-for,system): checks the client's types as on that system, whose calls differ; "unreachable" is all that is
# for another one.
check-for = $(BIN)/mypy --platform $(1) --no-warn-unreachable --cache-dir .mypy_cache/$(1) -p mgmt -p mgmt_local -p mgmt_contract

# --- environments: a stamp says that what a file pins is installed -----------------------------------------

# $(call install,what it is for,pins,size on the disk): says what is going on, once where nobody looks on; on a terminal pip
# itself goes on from there.
install = echo "installing $(1): $$(grep -c '==' $(2)) packages, about $(3) on the disk ..." && \
  $(BIN)/python -m pip $(4) install $$([ -t 1 ] || echo --quiet) --disable-pip-version-check --require-hashes -r $(2)

.venv/created: requirements/pip.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mgmt needs Python 3.11 or newer; say which: make PYTHON=python3.11")'
	@echo "making a Python environment in .venv ..."
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/pip.txt
	@touch $@

.venv/runtime.done: .venv/created requirements/runtime.txt pyproject.toml
	@$(call install,mgmt and its embedded backend,requirements/runtime.txt,220 MB)
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.venv/dev.done: .venv/runtime.done requirements/dev.txt
	@$(call install,what tests and lint need beside that,requirements/dev.txt,700 MB more)
	@touch $@

# The CDK command and an OpenID provider (by npm, which comes with Node from a wheel), ministack, the function's wheels.
.venv/tools.done: .venv/dev.done requirements/ministack.txt requirements/lambda.txt tests/support/toolchain.py \
                  requirements/npm/package-lock.json
	@PYTHONPATH=tests:infra $(BIN)/python -m support.toolchain
	@touch $@

.venv/mutation.done: .venv/dev.done requirements/mutation.txt
	@$(call install,what changes the code on purpose,requirements/mutation.txt,30 MB)
	@touch $@

# What the benchmark compares with; its boto3 is not the product's.
.venv/bench.done: .venv/runtime.done requirements/bench.txt
	@$(BIN)/python -m venv --without-pip .venv/bench
	@$(call install,what mgmt is measured against,requirements/bench.txt,280 MB,--python .venv/bench)
	@touch $@

APT := apt-get install -y -qq --no-install-recommends
tools: WANTED = bsdtar:libarchive-tools 7zz:7zip tmux:tmux faketime:faketime chromium-headless-shell:chromium-headless-shell
bench-tools: WANTED = pigz:pigz
tools bench-tools:
	@for tool in $(WANTED); do \
	  command -v $${tool%%:*} >/dev/null && continue; \
	  package=$${tool##*:}; \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo "installing $$package"; \
	    { $(APT) $$package || { apt-get update -qq && $(APT) $$package; }; } >/dev/null 2>&1; \
	  fi; \
	  command -v $${tool%%:*} >/dev/null || echo "note: $${tool%%:*} is needed; please install $$package"; \
	done
