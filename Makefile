# Every target does its own set-up: `make demo` or `make test` on a fresh clone is enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

WEB := src/modelrunner/server/ui/.stamp

.PHONY: setup demo test check bench docs lock fuzz-headers fuzz-scheduler soak screenshots clean

setup: $(READY) $(WEB)

# A virtual environment with exactly the locked packages, and the project itself, editable.
$(READY): requirements/build.txt requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes \
		-r requirements/build.txt -r requirements/dev.txt
	command -v npm >/dev/null || $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r requirements/node.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(READY)

# The web app; the editable install has built it too, unless its sources are newer.
$(WEB): $(READY) $(shell find web -type f -not -path '*/node_modules/*')
	@$(BIN)/python web/build.py
	@touch $@

demo: setup
	@$(BIN)/python scripts/demo.py

test: setup
	@scripts/test-packages
	@$(BIN)/python web/build.py test
	$(BIN)/pytest -n 2 --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python web/build.py check

bench: setup
	@$(BIN)/python -m benchmarks.run

# What is generated from the code, the manual pages in build/man, and the site in build/site; needs no network.
docs: setup
	$(BIN)/python scripts/reference.py
	$(BIN)/python scripts/grafana.py
	$(BIN)/python scripts/tools.py
	$(BIN)/python -c "from pathlib import Path; from modelrunner.cli import manual; manual.write(Path('build/man/man1'))"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict
	@echo "open build/site/index.html, or: man -M build/man dmr"

# Needs CPython 3.11 to 3.13 on Linux. SECONDS says for how long.
fuzz-headers: SECONDS ?= 60
fuzz-headers: setup
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/fuzz.txt
	mkdir -p .fuzz/headers
	$(BIN)/python scripts/fuzz_seeds.py .fuzz/headers
	$(BIN)/python fuzz/headers.py -max_total_time=$(SECONDS) -rss_limit_mb=1024 -timeout=10 -artifact_prefix=.fuzz/ .fuzz/headers

# The scheduler's rules after each of STEPS random steps; a violation names the seed that shows it again.
fuzz-scheduler: STEPS ?= 1000000
fuzz-scheduler: setup
	$(BIN)/python fuzz/scheduler.py --steps $(STEPS)

# A daemon under random load for SECONDS, with engines that fail in every way; afterwards nothing may be left.
soak: SECONDS ?= 1800
soak: setup
	$(BIN)/python -m benchmarks.soak --seconds $(SECONDS)

# Every page of the web app, in light and dark, in .screenshots; with ARGS=--docs the best ones in docs/images.
screenshots: setup
	@scripts/test-packages
	@$(BIN)/python -m scripts.screenshots $(ARGS)

# New locked versions. The files name no package index, so that any mirror serves.
lock: setup
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate pyproject.toml --group dev --extra otel --output-file requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate pyproject.toml --output-file requirements/runtime.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate requirements/build.in --output-file requirements/build.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate requirements/fuzz.in --output-file requirements/fuzz.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate requirements/chart.in --output-file requirements/chart.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --no-annotate requirements/node.in --output-file requirements/node.txt
	$(BIN)/python scripts/lock_engines.py

clean:
	rm -rf $(VENV) web/node_modules src/modelrunner/server/ui .fuzz .mypy_cache .ruff_cache .pytest_cache .hypothesis
