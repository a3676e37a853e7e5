# Everything one does with the platform. Plain `make` lists it.
PYTHON ?= $(or $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name)))),python3)
BIN := .venv/bin
LOCAL := $(BIN)/metering-local
# Every folder with a pyproject.toml of its own is a package; make-venv.sh and the tests find them the same way.
PACKAGES := $(patsubst %/pyproject.toml,%,$(sort $(wildcard deploy/*/pyproject.toml libs/*/pyproject.toml services/*/pyproject.toml)))
# What tests and benchmarks share.
SUPPORT := $(subst $(eval ) ,:,$(wildcard libs/*/tests/support services/*/tests/support))
# What needs more than Python packages, or more time, is deselected; pytest's closing line counts it.
APART := not toolchains and not docker and not promtool and not kubernetes and not chaos and not wire
# Where `make check` has just run, its tests are not run again.
SLOW := $(if $(CHECKED), and not fast)
T ?=

.DEFAULT_GOAL := help
.PHONY: help demo up down status logs clean follow test check lock bench contracts chart dashboards chaos test-hours test-k8s test-observability compose-up compose-down test-images test-wire

help: ## Print this list
	@echo "The metering platform on this machine: make TARGET"
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  \1\t\2/' | expand -t 16

demo: .venv/.made ## Send two days of a real house over HTTP, account for every value, leave the platform up to look at
	@$(BIN)/metering-demo

up: .venv/.made ## Bring the platform up and wait until it is ready; harmless when it is; brings back what was killed
	@$(LOCAL) up

down: .venv/.made ## End the platform; its data stays in .state
	@$(LOCAL) down

status: .venv/.made ## Show every process, its memory, and whether it is ready
	@$(LOCAL) status

logs: .venv/.made ## Follow all logs, or those of one process: make logs NAME=validator
	@$(LOCAL) logs --follow $(NAME)

follow: .venv/.made ## Print what happened to one batch: make follow BATCH=its id
	@$(LOCAL) follow "$(BATCH)"

clean: .venv/.made ## End the platform and delete its data and secrets (.state)
	@$(LOCAL) clean

test: .venv/.made ## Run every test on a Kafka and a PostgreSQL of its own; make test T=path narrows
	@$(BIN)/python -u -m pytest -m "$(APART)$(SLOW)" $(or $(T),--numprocesses 2 --dist loadfile)

check: .venv/.made ## Check format, lint, types and import contracts, and run the fast tests: what CI runs first
	@$(BIN)/ruff format --check --quiet . && $(BIN)/ruff check --quiet .
	@for package in $(PACKAGES); do $(BIN)/mypy --no-error-summary $$package || exit 1; done
	@$(BIN)/mypy --no-error-summary --explicit-package-bases tests bench deploy/observability
	@$(BIN)/lint-imports --no-cache > .import-linter.log 2>&1 && rm .import-linter.log || { cat .import-linter.log; exit 1; }
	@$(BIN)/python -u -m pytest -q -m fast

lock: .venv/.made ## Resolve all packages again into requirements.lock
	@$(BIN)/python -m metering_local.lock | $(BIN)/uv pip compile - --universal --python-version 3.11 --generate-hashes \
	  --no-annotate --quiet --custom-compile-command "make lock" --output-file requirements.lock $(LOCK) > /dev/null

bench: .venv/.made ## Run the benchmarks, each a ratio to a limit taken in the same run; make bench NAME=writer for one
	@for bench in bench/bench_$(or $(NAME),*).py; do echo "== $$bench"; PYTHONPATH=.:$(SUPPORT) $(BIN)/python -u $$bench || exit 1; done

contracts: .venv/.made ## Write contracts/schemas, docs/rules.md and docs/metrics.md again from the code they describe
	@$(BIN)/metering-topics schemas --write
	@$(BIN)/python -m metering_validator.rules_page > docs/rules.md
	@$(BIN)/python deploy/observability/metrics_page.py > docs/metrics.md

chart: .venv/.made ## Render the Helm chart's committed manifests again (builds helm from its Go module the first time)
	@$(BIN)/python -m tests.deploy.chart

test-hours: .venv/.made ## Run what reads the clock at awkward hours and days (needs Debian's faketime); T=path narrows
	@$(BIN)/python -m tests.at_any_hour $(T)

chaos: .venv/.made ## Kill processes at random for some minutes and count; prints every seed and its count
	@$(BIN)/python -u -m pytest -v -s -m chaos $(T)

dashboards: .venv/.made ## Write deploy/observability/dashboards again from boards/
	@$(BIN)/python deploy/observability/dashboards.py

test-wire: .venv/.made ## Run everything on a Kafka and a PostgreSQL with their locks on, and try what is not allowed
	@$(BIN)/python -u -m pytest -m wire $(or $(T),tests/integration)

test-observability: .venv/.made ## Fire every alert with promtool, ask every panel of a real run (needs Debian's prometheus)
	@$(BIN)/python -u -m pytest -m promtool $(T)

test-k8s: .venv/.made ## Install the chart on a real one-node Kubernetes and hurt it (root, Go; builds it the first time)
	@$(BIN)/python -u -m pytest -m kubernetes $(T)

compose-up: .venv/.made ## Build the images and bring docker-compose.yml up, with random secrets in .env; BROKERS=3 for three brokers
	@$(BIN)/python -m metering_local.compose up --brokers $(or $(BROKERS),1)

compose-down: .venv/.made ## End docker-compose.yml; its volumes and the .env stay
	@$(BIN)/python -m metering_local.compose down

test-images: .venv/.made ## Build every image and bring docker-compose.yml up, on an engine of its own or DOCKER_HOST's (minutes)
	@$(BIN)/python -u -m pytest -m docker $(or $(T),tests/images)

.venv/.made: VERSION requirements.lock deploy/local/make-venv.sh $(addsuffix /pyproject.toml,$(PACKAGES))
	@deploy/local/make-venv.sh "$(PYTHON)"
