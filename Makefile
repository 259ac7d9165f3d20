# Two commands matter: `make demo` shows the main job, `make test` checks it.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

# make test excludes the long sweeps and Binder's recipe, which installs everything again.
SELECTION := not slow and not recipe

.PHONY: demo test fast browser recipe sweep lint bench pictures clean

demo: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	$(BIN)/python -m casesearch_pd

test: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pytest -m "$(SELECTION)" -n 2 --dist loadscope -r s $(PYTEST_ARGS)

fast: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pytest -m fast -n 2 --dist loadscope -r s $(PYTEST_ARGS) tests

browser: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pytest -m browser $(PYTEST_ARGS) tests/browser

recipe: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pytest -m recipe $(PYTEST_ARGS) tests/test_binder.py

sweep: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	$(BIN)/python -m pytest -m slow -n 2 --dist loadscope tests

lint: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench,test]'
	$(BIN)/python bench/service.py
	$(BIN)/python bench/read.py $(READ_ARGS)
	$(BIN)/python bench/memory.py $(MEMORY_ARGS)
	$(BIN)/python bench/pace.py
	$(BIN)/python bench/filters.py
	$(BIN)/python bench/accessor.py
	$(BIN)/python bench/form.py
	$(BIN)/python bench/cluster.py
	$(BIN)/python bench/scale.py

pictures: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check .
	$(BIN)/python docs/gallery.py

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage* htmlcov
