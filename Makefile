# The two commands: `make run` shows the whole thing on one machine, `make test` proves it.

# Where `make run` listens; each may be given on the command line: make run PORT=5001
PORT             ?= 5000
COUNTERSIGN_PORT ?= 8080
BACKEND_PORT     ?= 8081
ADMIN_PORT       ?= 9464
STRIPE_PORT      ?= 12111
# What it keeps between runs: the ledger, the generated secret, the logs.
RUN_DIR          ?= .run
# How long `make soak` goes on.
MINUTES          ?= 2
# release, or dev for a quick build.
PROFILE          ?= release

.PHONY: help run test test-stack soak bench fmt lint doc

help:
	@echo 'make run    set up, build, start backend, Countersign, Caddy and a fake Stripe: buy at http://localhost:$(PORT)'
	@echo 'make test   set up, run every test'
	@echo 'make test-stack   build the images, start podman-compose.yml and test it'
	@echo 'make soak   load with the program and Redis killed at random, then every event looked up: make soak MINUTES=10'
	@echo 'make bench  measure, beside HAProxy, nginx and Caddy'
	@echo 'make fmt    format;   make lint   check format and lints;   make doc   build the documentation'

run: export PORT := $(PORT)
run: export COUNTERSIGN_PORT := $(COUNTERSIGN_PORT)
run: export BACKEND_PORT := $(BACKEND_PORT)
run: export ADMIN_PORT := $(ADMIN_PORT)
run: export STRIPE_PORT := $(STRIPE_PORT)
run: export RUN_DIR := $(RUN_DIR)
run: export PROFILE := $(PROFILE)
run:
	@scripts/setup run
	@scripts/run

test:
	@scripts/setup test
	@scripts/test

# Needs podman and podman-compose; says so where they are missing.
test-stack:
	@scripts/test-stack

soak:
	@scripts/setup test
	@scripts/soak $(MINUTES)

bench:
	@scripts/setup bench
	benches/run

fmt:
	cargo fmt

lint:
	cargo fmt --check
	cargo clippy --all-targets --features failpoints -- -D warnings

doc:
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps
