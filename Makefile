# The commands of this repository; `make` alone prints them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help root cluster cluster-down test-cluster images build-static conformance demo test test-unit test-e2e test-dataplane lint fuzz bench bench-api bench-compiler bench-services clean distclean setup build

# End-to-end tests, in order: what fails early explains what fails later.
E2E_TESTS := kube_proxy charts harness admission connectivity cni networkpolicy cluster_network_policy services nodeports hostports endpoints chains lifecycle status writes
# Tests on a whole Kubernetes.
CLUSTER_TESTS := k8s_cluster k8s_network
E2E := target/debug/contiv-e2e
# How a cluster is to be: NODES=3, PORT=6443 (of 127.0.0.1, for the API server), VPP=/path/to/vpp.
SHAPE = $(if $(NODES),--nodes $(NODES)) $(if $(PORT),--port $(PORT)) $(if $(VPP),--vpp $(VPP))

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

cluster: root setup build build-static ## A whole Kubernetes with our network on this machine; NODES=3, PORT=6443, VPP=/path/to/vpp (root)
	@$(E2E) cluster up $(SHAPE)

cluster-down: ## Takes it down
	@cargo run --quiet -p e2e --bin contiv-e2e -- cluster down

demo: root setup build build-static ## The whole thing at work on such a cluster, told step by step (root; KEEP=1 leaves it running)
	@$(E2E) demo $(SHAPE) $(if $(KEEP),--keep)

test: setup test-unit test-e2e test-cluster ## Every test: units, engine, end to end with real packets (root)

test-unit: ## Tests that need no cluster (some use network namespaces: root)
	cargo test --workspace

test-e2e: setup build ## End-to-end tests; TESTS="services chains" runs only those, CASE=name only that test
	@failed=; \
	for test in $(or $(TESTS),$(E2E_TESTS)); do \
		cargo test --quiet -p e2e --test $$test -- $(CASE) || failed="$$failed $$test"; \
	done; \
	if [ -n "$$failed" ]; then echo "end-to-end tests failed:$$failed"; exit 1; fi

test-cluster: root setup build build-static ## Tests on a whole Kubernetes; TESTS and CASE as for test-e2e, VPP=/path/to/vpp to run them on a real VPP (root)
	@failed=; \
	for test in $(or $(TESTS),$(CLUSTER_TESTS)); do \
		cargo test --quiet -p e2e --test $$test -- $(CASE) || failed="$$failed $$test"; \
	done; \
	if [ -n "$$failed" ]; then echo "tests on a cluster failed:$$failed"; exit 1; fi

test-dataplane: ## One suite of packets in process, on a socket, and against VPP_API_SOCKET (VPP_STATS_SOCKET; VPP_NETNS: where it lives) if given (root)
	cargo test -p vpp-sim --test dataplane
	cargo test -p node-daemon --test given_vpp

# Programs that run on hosts of any distribution, or in an image with nothing else in it.
TRIPLE := $(shell rustc -vV | sed -n 's/^host: //p')

build-static:
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --quiet --release --target $(TRIPLE) --target-dir target/static -p cni-shim -p pause

images: setup build build-static ## Container images of what is built here, in target/images; REGISTRY=… TAG=… name them, VPP=/path/to/vpp adds VPP's
	@$(E2E) images target/images $(if $(REGISTRY),--registry $(REGISTRY)) $(if $(TAG),--tag $(TAG)) $(if $(VPP),--vpp $(VPP))

conformance: setup build ## Kubernetes' own tests, of E2E_TEST=/path/to/e2e.test, against $$KUBECONFIG; FOCUS=… and SKIP=… choose them
	@[ -n "$(E2E_TEST)" ] || { echo "E2E_TEST names no program: give the e2e.test of a Kubernetes release, such as E2E_TEST=/opt/kubernetes/test/bin/e2e.test"; exit 1; }
	@$(E2E) conformance --e2e-test "$(E2E_TEST)" $(if $(FOCUS),--focus '$(FOCUS)') $(if $(SKIP),--skip '$(SKIP)') $(if $(NETNS),--netns $(NETNS))

lint: ## Formatting, clippy, and (where cargo-deny is installed) licenses and advisories
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo clippy -p e2e $(addprefix --test ,$(E2E_TESTS) $(CLUSTER_TESTS)) -- -D warnings
	@if cargo deny --version >/dev/null 2>&1; then cargo deny check; \
	else echo "cargo-deny is not installed: deny.toml not checked (cargo install cargo-deny)"; fi

bench: setup ## CNI ADD beside the reference plugins, and requests per second of the VPP client (root)
	cargo build --release --workspace --bins
	@target/release/contiv-e2e bench-cni
	cargo bench -p vpp-sim --bench api

bench-api: ## The VPP client beside GoVPP and vpp_papi, on one server; VPP_API_SOCKET=PATH against that one (BENCH_ONLY=ours)
	cargo bench -p vpp-sim --bench clients

bench-compiler: ## Time and memory of the compiler at 100,000 pods, and the time from one event to its changes
	cargo bench -p compiler --bench compiler

bench-services: setup ## 10,000 Services on a node: cold start, one changed endpoint, memory; then with an API server and the operator (root; BENCH_SERVICES=N, BENCH_CHANGES=N)
	cargo bench -p node-daemon --bench services
	cargo build --release --workspace --bins
	@target/release/contiv-e2e bench-services $(if $(BENCH_SERVICES),--services $(BENCH_SERVICES)) $(if $(BENCH_CHANGES),--changes $(BENCH_CHANGES))

# cargo-fuzz's own flags need a nightly compiler only for sanitizers: with `--sanitizer none` the pinned one does.
SECONDS ?= 60
FUZZ_TARGETS := decoder server engine stats
FUZZ_CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/contiv-vpp-tests/cargo-fuzz

fuzz: ## Fuzzes decoder, server, packets and stats reader; SECONDS=60 for each, TARGETS="server stats" only those
	@[ -x $(FUZZ_CACHE)/bin/cargo-fuzz ] || cargo install --quiet --locked --version 0.13.2 --root $(FUZZ_CACHE) cargo-fuzz
	@cargo run --quiet -p fuzz --example seeds -- target/fuzz/seeds
	@for target in $(or $(TARGETS),$(FUZZ_TARGETS)); do \
		mkdir -p target/fuzz/corpus/$$target; \
		PATH="$(FUZZ_CACHE)/bin:$$PATH" cargo fuzz run --sanitizer none --fuzz-dir fuzz --target-dir target/fuzz --features libfuzzer \
			$$target target/fuzz/corpus/$$target target/fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -max_len=4096 -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 || exit 1; \
	done

clean: ## Ends what a demo or a killed test left running
	@cargo run --quiet -p e2e --bin contiv-e2e -- clean
	@rm -rf target/debug/e2e-logs target/release/e2e-logs

distclean: clean ## The same, and removes everything that was built
	cargo clean

build:
	cargo build --workspace --bins

# Said before anything is built.
root:
	@[ "$$(id -u)" = 0 ] || { echo "this needs root: nodes and pods are namespaces of this machine, which only root can make (sudo make …)"; exit 1; }

# What the end-to-end part needs beside Rust and Go, from Debian, only when missing.
setup:
	@missing=; \
	command -v ip >/dev/null || missing="$$missing iproute2"; \
	command -v nft >/dev/null || missing="$$missing nftables"; \
	command -v runc >/dev/null || missing="$$missing runc"; \
	[ -e /etc/ssl/certs/ca-certificates.crt ] || missing="$$missing ca-certificates"; \
	if [ -n "$$missing" ]; then \
		echo "installing$$missing"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing; \
	fi
	@command -v go >/dev/null || { echo "Go is not installed: it builds the API server that the tests run against (https://go.dev/doc/install)"; exit 1; }
