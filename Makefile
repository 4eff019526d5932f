# `make` prints what can be made.
.DEFAULT_GOAL := help
SHELL := bash
SDKS := .sdks
PYTHON ?= python3

.PHONY: help build release test unit integration fixtures demo sdks lint fmt layers validate doc ci bench tables online dist peers clean

help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build the program for debugging (target/debug/doppelspan)
	cargo build --workspace --bin doppelspan

release: ## build the program for use (target/release/doppelspan)
	cargo build --release

# Runs this, then names what its tests skipped because something is missing here.
named = @mkdir -p target && rm -f target/skipped; status=0; $(1) || status=$$?; \
	if [ -s target/skipped ]; then echo "skipped, and a failure in CI:"; sort -u target/skipped; fi; exit $$status

test: sdks ## run every test: unit, property, integration with the real SDKs, a browser and the peers that are there
	$(call named,cargo test --workspace)

unit: ## run the tests that need no socket
	cargo test --lib

integration: sdks ## run the tests that drive the service from outside
	$(call named,cargo test -p integration-tests)

sdks: $(SDKS)/python/.done $(SDKS)/javascript/.done $(SDKS)/page/.done $(SDKS)/evaluation/.done ## fetch the Python and JavaScript SDKs into an ignored folder

$(SDKS)/python/.done: integration-tests/sdk/python/requirements.txt
	@mkdir -p $(SDKS)
	@if command -v $(PYTHON) >/dev/null; then \
	  echo "fetching the Python SDK into $(SDKS)/python"; \
	  $(PYTHON) -m venv $(SDKS)/python && $(SDKS)/python/bin/pip install --quiet --requirement $< && touch $@; \
	else echo "no $(PYTHON): the tests that need the Python SDK will say that they were skipped"; fi

$(SDKS)/evaluation/.done: integration-tests/evaluation/requirements.txt
	@mkdir -p $(SDKS)
	@if command -v $(PYTHON) >/dev/null; then \
	  echo "fetching scikit-learn and scipy into $(SDKS)/evaluation"; \
	  $(PYTHON) -m venv $(SDKS)/evaluation && $(SDKS)/evaluation/bin/pip install --quiet --requirement $< && touch $@; \
	else echo "no $(PYTHON): the test that evaluates a second time will say that it was skipped"; fi

$(SDKS)/javascript/.done: integration-tests/sdk/javascript/package.json
	@mkdir -p $(SDKS)/javascript
	@if command -v npm >/dev/null; then \
	  echo "fetching the JavaScript SDK into $(SDKS)/javascript"; \
	  cp integration-tests/sdk/javascript/package.json $(SDKS)/javascript/ \
	  && (cd $(SDKS)/javascript && npm install --no-audit --no-fund --silent --no-package-lock) && touch $@; \
	else echo "no npm: the tests that need the JavaScript SDK will say that they were skipped"; fi

$(SDKS)/page/.done: integration-tests/page/package.json
	@mkdir -p $(SDKS)/page
	@if command -v npm >/dev/null; then \
	  echo "fetching what drives a browser into $(SDKS)/page"; \
	  cp integration-tests/page/package.json $(SDKS)/page/ \
	  && (cd $(SDKS)/page && npm install --no-audit --no-fund --silent --no-package-lock) && touch $@; \
	else echo "no npm: the test that looks at the page will say that it was skipped"; fi

fixtures: release ## make the recorded traces in fixtures/ again, by the commands of their README
	@set -e; grep -o 'doppelspan simulate [^`]*' fixtures/README.md | while read -r command; do \
	  echo "$$command"; target/release/$$command; done

demo: release ## watch it learn a simulated shop, in a browser; Ctrl-C ends it
	target/release/doppelspan demo

fmt: ## rewrite the sources in the one format
	cargo fmt --all

lint: ## format, clippy with warnings denied
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings

layers: ## check that imports run in one direction
	cargo test -p integration-tests --test layers

validate: build ## check every example pipeline
	@set -e; for file in pipelines/*.yaml; do echo "validate $$file"; target/debug/doppelspan validate --config $$file; done

doc: ## build the documentation with warnings denied
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

dist: ## build the program as it is given to others, small and slow to build (target/dist/doppelspan)
	cargo build --profile dist

bench: release dist ## print the benchmarks, beside the peers that are there (see `make peers`)
	cargo bench -p integration-tests

DATA ?= ../shared/data
SEEDS ?= 5
# ABLATIONS=1: a model without z_G a corpus as well, for the table of ablations.

tables: release ## train, sample and evaluate on every corpus of DATA (a folder), five seeds; writes docs/results.md
	cargo build --release -p integration-tests --bin tables
	target/release/tables $(if $(ABLATIONS),--ablations) $(DATA) docs $(SEEDS)

online: release ## send every corpus of DATA once through a learner, in time order; writes docs/online.md
	cargo build --release -p integration-tests --bin online
	target/release/online $(DATA) docs target/tables

peers: ## fetch or build the pinned neighbours (Collector, Jaeger, ...) into an ignored folder, each once
	@PYTHON=$(PYTHON) integration-tests/peers/fetch.sh

clean: ## remove everything that was built or fetched
	rm -rf target $(SDKS) .peers

ci: lint test validate doc ## everything that must be green before main moves
