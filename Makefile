# The two main commands: `make run` shows everything on one machine, `make test` runs every test.

# Ports of `make run`. Each can be set on the command line: make run PORT=5001
PORT             ?= 5000
COUNTERSIGN_PORT ?= 8080
BACKEND_PORT     ?= 8081
ADMIN_PORT       ?= 9464
STRIPE_PORT      ?= 12111
# Directory of files that last between runs: the ledger, the generated secret, the logs.
RUN_DIR          ?= .run
# Duration of `make chaos` and `make soak` on each ledger, in minutes.
MINUTES          ?= 2
# The seed of `make chaos` (empty: a new one), and its faults, separated by commas (empty: all).
SEED             ?=
FAULTS           ?=
# Cargo profile of `make run`: release, or dev for a quick build.
PROFILE          ?= release

.PHONY: help run test test-stack test-package chaos soak bench fmt lint doc docs

help:
	@echo 'make run          build and start backend, Countersign, Caddy and a fake Stripe on http://localhost:$(PORT)'
	@echo 'make test         run every test'
	@echo 'make test-stack   build the images, start podman-compose.yml and test it'
	@echo 'make test-package build the Debian package, install it on a machine with systemd in a container, and test it'
	@echo 'make chaos        cause faults at random under load, then look up every event (MINUTES=10 SEED=123 FAULTS=kill,clock)'
	@echo 'make soak         the same, but only kill the program and Redis (MINUTES=10)'
	@echo 'make bench        measure beside HAProxy, nginx and Caddy'
	@echo 'make fmt          format the code'
	@echo 'make lint         check format and lints'
	@echo 'make doc          build the documentation of the code'
	@echo 'make docs         build docs/ as a site into target/book, and check its links'

run: export PORT := $(PORT)
run: export COUNTERSIGN_PORT := $(COUNTERSIGN_PORT)
run: export BACKEND_PORT := $(BACKEND_PORT)
run: export ADMIN_PORT := $(ADMIN_PORT)
run: export STRIPE_PORT := $(STRIPE_PORT)
run: export RUN_DIR := $(RUN_DIR)
run: export PROFILE := $(PROFILE)
run:
	@scripts/run

test:
	@scripts/setup test
	@scripts/test

# Needs podman and podman-compose. Prints SKIPPED if they are missing.
test-stack:
	@scripts/test-stack

# Needs podman, cargo-deb and lintian. Prints SKIPPED if they are missing.
test-package:
	@scripts/test-package

chaos:
	@scripts/setup test
	@SEED=$(SEED) FAULTS=$(FAULTS) scripts/chaos $(MINUTES)

soak:
	@$(MAKE) --no-print-directory chaos FAULTS=kill,redis_kill

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

# Needs mdbook: cargo install --locked mdbook
docs:
	mdbook build
	scripts/book check
