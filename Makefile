# make demo   the environment, then every stage of sedtool on sounds made on the spot
# make quick  the environment, then the quick tests: some three minutes on two cores
# make test   the environment, then all tests, and how much of the code they cover
# make check  ruff and mypy
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& command -v $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo quick test check format lock clean

demo: $(VENV)/ready
	$(BIN)/sedtool demo -o demo --overwrite

# A process a core, each with one thread of its own; tests of a file stay together.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist loadfile

quick: $(VENV)/ready
	$(PYTEST) -m 'not slow and not campaign'

test: $(VENV)/ready
	$(PYTEST) --cov

check: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/ready: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "sedtool needs Python 3.11, 3.12 or 3.13; set PYTHON=/path/to/python"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

# Renews the exact versions within the ranges of pyproject.toml, for all supported Pythons.
lock:
	uv pip compile --quiet --universal --python-version 3.11 --extra dev --no-header --no-annotate \
		--constraint constraints.txt pyproject.toml -o requirements.lock

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
