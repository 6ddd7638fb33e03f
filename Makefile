# The commands of this project. The work is done by scripts/; every target sets up what it needs.
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
.PHONY: run test check format coverage bench protos lock clean help

run: ## Show the main job on this machine's hardware (ends by itself)
	@scripts/setup run
	@.venv/bin/ringbolt sandbox demo

test: ## Run all tests; PYTEST="-k name -x" hands options to pytest
	@scripts/setup test
	@scripts/test $(PYTEST)

check: ## Format, lint, types, import contracts: what CI checks, in the same order
	@scripts/setup test
	@scripts/check

format: ## Mend format and lint where that can be done by itself
	@scripts/setup test
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

coverage: ## Run all tests and show which branches none of them took
	@scripts/setup test
	@.venv/bin/coverage erase
	@.venv/bin/coverage run -m pytest $(PYTEST)
	@.venv/bin/coverage combine --quiet
	@.venv/bin/coverage report

bench: ## Measure the agent on this machine (root shows all of it); BENCH=--quick is shorter
	@scripts/setup run
	@.venv/bin/python -m benchmarks $(BENCH)

protos: ## Generate the gRPC code from protos/*.proto
	@scripts/setup test
	@scripts/protos

lock: ## Pin all requirements by hash anew; LOCK=--upgrade takes the newest
	@scripts/setup test
	@scripts/lock $(LOCK)

clean: ## Remove everything that the targets made
	rm -rf .venv .setup build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .benchmarks .coverage .coverage.*

help: ## Show this
	@sed -n 's/^\([a-z]*\): ## \(.*\)/  make \1\t\2/p' Makefile | expand -t 18
