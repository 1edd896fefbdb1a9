# The two commands a newcomer needs: `make demo` and `make test`. Everything is installed into .venv.
PYTHON ?= python3
VENV := .venv
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

.PHONY: demo test docs site bench dist clean

demo: $(VENV)/.installed
	$(BIN)/sagan demo

# One thread per process: two test processes share the cores instead of competing for them. A file's
# tests stay in one of them, so that they build once what they share, and files are tested in the
# order of tests/conftest.py. The many processes that tests start read bytecode, even where the
# environment asks Python not to write any.
test: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	scripts/install-chromium
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder $(PYTEST_OPTIONS)

# These pages and the Python API as a site, into site/: open site/index.html.
docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The documentation, and in site/explore/ the page of each shipped model, whose networks run in the
# visitor's browser. Any web server can serve it: python -m http.server --directory site
SHIPPED := avatars-64 cifar10-32 openmoji-64
site: docs $(VENV)/.installed-onnx
	for model in $(SHIPPED); do $(BIN)/sagan explore $$model --static site/explore/$$model || exit 1; done

# Compare with naive code, part by part, into results/. Leave the machine alone meanwhile.
bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

# The source archive and the wheel that an index would get, into dist/.
dist: $(VENV)/.installed-dev
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/pyvenv.cfg:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

$(VENV)/.installed-docs: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --editable '.[docs]'
	touch $@

$(VENV)/.installed-onnx: $(VENV)/pyvenv.cfg pyproject.toml
	$(BIN)/python -m pip install --editable '.[onnx]'
	touch $@
