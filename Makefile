# Everything runs from a clean clone. The first target that needs it makes the environment; later runs find it.

VENV ?= .venv
BIN := $(VENV)/bin
ARGS ?=
# The first Python that is new enough. It is asked, because a name may be there and not work, as pyenv's shims.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v $$name; break; }; done)

# What the notebooks use; a variable, because its commas would end an argument of $(call).
LAB := .[lab,openai,anthropic,ollama]
PYTEST := $(BIN)/python -m pytest
NBVAL := --nbval --nbval-current-env --nbval-cell-timeout=120 --nbval-sanitize-with=tests/nbval_sanitize.cfg
FAST := "not browser and not keyring and not llm and not crash and not long"
# Tests with a browser, a keyring or a server of its own run one after the other, and mostly wait for what people
# would see. The others run beside them and beside each other, in more processes than there are cores, and give way.
APART := $(PYTEST) $(NBVAL) -m "(browser or keyring or llm or notebook) and not long"
BESIDE := nice $(PYTEST) -n 3 --dist worksteal -o cache_dir=.pytest_cache/beside
UV := $(BIN)/python -m uv
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --prefer-binary --retries 10 --timeout 60 \
	-c tests/constraints.txt
# With uv it takes seconds. Where uv cannot be had, or knows less of where packages come from than pip does, pip takes
# minutes; what either has fetched is kept, so that one more try goes on where a broken connection has ended.
install = { $(PIP) uv && $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python -c tests/constraints.txt \
	-e "$(1)"; } || { echo "Trying with pip ..." >&2; sleep 5; $(PIP) -e "$(1)"; }

.DEFAULT_GOAL := help
.PHONY: help lab test test-fast test-long test-lowest check lint bench docs pins uv system clean

help:  ## List the targets
	@sed -n 's/^\([a-z-]*\):.*##/\1	/p' $(firstword $(MAKEFILE_LIST)) | expand -t 13

lab: $(VENV)/.lab  ## Open JupyterLab on the first notebook
	@$(BIN)/orchstate lab $(ARGS)

test: $(VENV)/.test system  ## Run all tests and notebooks; ARGS="-k undo" goes to pytest
	@mkdir -p artifacts
	@$(BESIDE) -m "not browser and not keyring and not llm and not long" $(ARGS) >artifacts/beside.log 2>&1 & \
	pid=$$!; trap 'kill $$pid' EXIT; trap 'exit 130' INT; trap 'exit 143' TERM; \
	$(APART) $(ARGS); apart=$$?; \
	echo "Waiting for the other tests, which run at the same time ..."; \
	wait $$pid; beside=$$?; trap - EXIT; cat artifacts/beside.log; \
	case $$apart$$beside in 00 | 05 | 50) ;; *) exit 1 ;; esac  # 5: ARGS left it no test.

test-fast: $(VENV)/.test  ## Run the tests that need no browser, keyring or LLM server, and attack nothing
	$(BESIDE) -m $(FAST) $(ARGS)

test-long: $(VENV)/.test system  ## Run the tests that take minutes
	$(PYTEST) -m long --timeout=3600 $(ARGS)

test-lowest: uv  ## Run the fast tests with the oldest packages that pyproject.toml allows
	$(UV) venv --quiet --clear --seed --python $(BIN)/python $(VENV)-lowest
	$(UV) pip install --quiet --python $(VENV)-lowest/bin/python --resolution lowest-direct -e ".[test]"
	$(VENV)-lowest/bin/python -m pytest -m $(FAST) $(ARGS)

check: lint  ## Lint, check the types, run the fast tests
	@$(MAKE) --no-print-directory test-fast

lint: $(VENV)/.test  ## Lint and check the types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

bench: $(VENV)/.bench system  ## Measure, and fail above the ceilings
	PYTHONPATH=tests $(BIN)/python -m benchmarks $(ARGS)

docs: $(VENV)/.docs  ## Build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --site-dir site

# For 3.11.0, because not every 3.11 is new enough for what runs on the newest; what is pinned already stays.
pins: uv  ## Pin what pyproject.toml has come to need; ARGS=--upgrade moves to newer versions
	$(UV) pip compile pyproject.toml --extra test --extra docs --extra bench --python-version 3.11 \
	--no-header --no-annotate --quiet --output-file tests/constraints.txt $(ARGS)

uv: $(VENV)/.test
	@$(PIP) uv

system:  # What the tests need beside Python; instant when it is there
	@VENV=$(VENV) tests/install_system_packages.sh

clean:  ## Remove what tests and builds leave behind; the environments stay
	rm -rf artifacts build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	find . -name __pycache__ -type d -not -path "./.venv*" -prune -exec rm -rf {} +

$(VENV)/.lab: pyproject.toml tests/constraints.txt | $(VENV)/.made
	@echo "Installing orchstate and JupyterLab into $(VENV) ..."
	@$(call install,$(LAB))
	@touch $@

$(VENV)/.test: pyproject.toml tests/constraints.txt | $(VENV)/.made
	@echo "Installing orchstate and what its tests need into $(VENV) ..."
	@$(call install,.[test])
	@touch $@

$(VENV)/.bench: pyproject.toml tests/constraints.txt | $(VENV)/.made
	@echo "Installing orchstate and what the benchmarks compare with into $(VENV) ..."
	@$(call install,.[bench])
	@touch $@

$(VENV)/.docs: pyproject.toml tests/constraints.txt | $(VENV)/.made
	@echo "Installing orchstate and what its documentation needs into $(VENV) ..."
	@$(call install,.[docs])
	@touch $@

# An environment that was made by other means is used as it is.
$(VENV)/.made:
	@$(BIN)/python -c "" 2>/dev/null || { $(make_venv); }
	@$(BIN)/python -c "import pip" 2>/dev/null || $(BIN)/python -m ensurepip
	@touch $@

make_venv = python="$(PYTHON)"; \
	if ! "$$python" -c "import sys; sys.exit(sys.version_info < (3, 11))" 2>/dev/null; then \
		echo "orchstate needs Python 3.11 or newer; tried $${python:-python3.13, python3.12, python3.11, python3}." >&2; \
		echo "Install one, or name it: make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	echo "Making $(VENV) with $$python ..."; \
	$$python -c "import ensurepip, venv" 2>/dev/null || tests/install_system_packages.sh \
		"$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')" || exit 1; \
	$$python -m venv --clear $(VENV)
