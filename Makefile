# `make help` lists the targets. Each one sets up what it needs, in .venv, with plain pip.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
QUESTION ?= Within how many hours must a personal data breach be notified to the supervisory authority?

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint types coverage audit serve studio browser ocr redis fuzz clean

help:  ## List the targets.
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

setup: $(VENV)/dev.stamp  ## Make .venv with everything for development.

demo: $(VENV)/run.stamp  ## Set everything up, index EU law, and ask it a question.
	$(BIN)/markgraph ingest corpus=eu_law
	$(BIN)/markgraph ask "$(QUESTION)"

# A process of tests takes some 3 GiB, hence no more than four.
test: lint types  ## Set everything up, check, and run every test.
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)

lint: $(VENV)/dev.stamp  ## Check style.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/dev.stamp  ## Check types, strictly.
	$(BIN)/mypy

coverage: $(VENV)/dev.stamp  ## Measure the branches of markgraph/security that tests take: 95 % at least.
	$(BIN)/coverage run --branch --source=markgraph.security -m pytest tests/security tests/audit/test_runs.py \
	  tests/commands/test_doctor.py tests/commands/test_keys.py tests/commands/test_token.py \
	  tests/graphs/test_agent.py tests/serving/test_app.py tests/serving/test_isolation.py \
	  tests/serving/test_issuer.py tests/serving/test_langgraph_auth.py tests/serving/test_limits.py \
	  tests/serving/test_login.py tests/serving/test_strangers.py tests/verification/test_verify.py
	$(BIN)/coverage report --show-missing --skip-covered --fail-under=95

# Needs PyPI's own service, which mirrors don't have: not part of `make test`. --strict: what could not be
# looked up has not passed. Local versions (2.13.0+cpu) are PyPI's without the +.
audit: $(VENV)/dev.stamp  ## Look every installed package up in PyPI's list of vulnerabilities.
	$(BIN)/python -m pip freeze --exclude-editable | sed 's/+.*//' > $(VENV)/audited.txt
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off -r $(VENV)/audited.txt \
	  $$(sed -n 's/^\([A-Z][A-Z]*-[^ ]*\) .*/--ignore-vuln \1/p' audit-ignored.txt)

serve: $(VENV)/dev.stamp  ## Serve the graphs at http://127.0.0.1:8000.
	$(BIN)/markgraph serve

studio: $(VENV)/dev.stamp  ## Start LangGraph Studio's server.
	LANGGRAPH_CLI_NO_ANALYTICS=1 $(BIN)/langgraph dev --no-browser --n-jobs-per-worker 4

browser:  ## Install a Chromium for the browser tests (Debian, needs root).
	command -v chromium || (apt-get update && apt-get install -y --no-install-recommends chromium)

ocr:  ## Install tesseract, which reads scans (Debian, needs root).
	command -v tesseract || (apt-get update && apt-get install -y --no-install-recommends tesseract-ocr tesseract-ocr-eng tesseract-ocr-osd)

redis:  ## Install a Redis for the tests of limits (Debian, needs root).
	command -v redis-server || (apt-get update && apt-get install -y --no-install-recommends redis-server)

fuzz: .fuzz/bin/schemathesis  ## Make .fuzz with schemathesis, which can't share an environment with langgraph-api.

clean:  ## Remove what the other targets made here.
	rm -rf $(VENV) .fuzz .coverage build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis

.fuzz/bin/schemathesis: tests/serving/fuzz-requirements.txt
	$(PYTHON) -m venv .fuzz
	.fuzz/bin/python -m pip install --quiet -r $<
	touch $@

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e .
	touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	touch $@ $(VENV)/run.stamp
