# Two commands do everything on a fresh machine: `make quickstart` runs the main job, `make test` everything that must pass.
# Needed: a Rust toolchain (1.95), a C++ compiler, make, python3 with pip (only to download libtorch; nothing runs Python afterwards).

OSLER_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/osler
export OSLER_CACHE

# libtorch is fetched once into the cache; LIBTORCH=/folder uses another one.
LIBTORCH_DIR = $(shell CUDA=$(CUDA) .ci/libtorch)
with_torch = LIBTORCH="$(LIBTORCH_DIR)" LD_LIBRARY_PATH="$(LIBTORCH_DIR)/lib:$$LD_LIBRARY_PATH"
# CUDA=1 builds against a libtorch with CUDA, in a folder of its own: the two libtorches would rebuild each other's half of the tree.
CUDA ?= 0
export CUDA
ifeq ($(CUDA),1)
override CARGO_TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)/cuda
export CARGO_TARGET_DIR
endif
target = $(or $(CARGO_TARGET_DIR),target)
bin = $(target)/release
nextest := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)
run_tests = $(if $(nextest),cargo nextest run --no-fail-fast,cargo test)
fast = $(if $(nextest),-E 'not test(/slow_/)',-- --skip slow_)
# Of the whole workspace, like everything here: a package alone has other features, and all that it needs would be built again.
of_runtime = $(if $(nextest),-E 'package(osler-runtime)',--lib store::)
slow = $(if $(nextest),-E 'test(/slow_/)',-- slow_)

.PHONY: help build build-tests quickstart test test-fast test-slow test-python test-s3 test-slurm gpu-check sanitize bench bench-control bench-peers chaos load kills soak lint deny sample clean-quickstart

help:
	@echo "make quickstart   build, make the demo world, train, examine, quantize, report (about 3 minutes on two idle cores, after the build)"
	@echo "make test         every test: fast lane, slow lane, the comparisons with Python's libraries, S3, and Slurm"
	@echo "make gpu-check    with CUDA=1: numbers, NCCL and speed of the GPUs here; $(bin)/gpu-check can be copied elsewhere"
	@echo "make sanitize     torch-dist's C++ under AddressSanitizer and UBSan"
	@echo "make deny         licenses, known holes and sources of what comes from outside, with cargo-deny"
	@echo "make chaos        half an hour of faults on three hosts of network namespaces, and as long without any (as root); OSLER_CHAOS_MINUTES sets the length"
	@echo "make load         an hour on a machine with more work than cores: nobody is taken for lost; OSLER_LOAD_MINUTES sets the length"
	@echo "make soak         a thousand small runs in an hour, and what they leave behind; OSLER_SOAK_RUNS and OSLER_SOAK_MINUTES set the size"
	@echo "make kills        a thousand kills of ranks that save at every step (half an hour); OSLER_KILLS sets how many"
	@echo "make bench        one table of this machine's figures"
	@echo "make build        the binaries, in $(bin); with CUDA=1 for NVIDIA GPUs too"
	@echo "make bench-control  the coordinator under 1,000 and 10,000 simulated agents (4 minutes at most; needs no libtorch)"
	@echo "make bench-peers  training and checkpoints beside PyTorch's own, in pairs"

build:
	$(with_torch) cargo build --release --locked --workspace --bins

quickstart: build
	$(bin)/osler demo osler-demo
	$(bin)/osler up configs/quickstart.toml --store osler-store

# Binaries and tests in one go: apart, cargo would build the dependencies once for each, with and without the tests' features.
build-tests:
	$(with_torch) cargo build --release --locked --workspace --all-targets

# What runs outside of cargo waits much of its time: two at a time, each shown when it is over.
test: test-fast test-slow
	$(MAKE) -j2 -Otarget test-python test-slurm test-s3

test-fast: build-tests
	$(with_torch) $(run_tests) --release --locked --workspace $(fast)

test-slow: build-tests
	$(with_torch) $(run_tests) --release --locked --workspace $(slow)

# Reads our files with transformers, gguf and PyTorch itself.
test-python: build-tests
	$(with_torch) tests/python/run $(bin)

# Faults on three hosts; the short version is in the slow lane. Figures: docs/reliability.md.
chaos: build-tests
	$(with_torch) cargo test --release --locked --workspace --test e2e -- --ignored --nocapture half_an_hour_of_faults

# An hour with more work than cores: nobody is taken for lost.
load: build-tests
	$(with_torch) cargo test --release --locked --workspace --test e2e -- --ignored --nocapture an_hour_of_full_load

# A thousand small runs in an hour; OSLER_SOAK_RUNS and OSLER_SOAK_MINUTES set the size.
soak: build-tests
	$(with_torch) cargo test --release --locked --workspace --test e2e -- --ignored --nocapture an_hour_of_small_runs

# A thousand kills of ranks that save at every step.
kills: build-tests
	$(with_torch) cargo test --release --locked --workspace --test e2e -- --ignored --nocapture a_thousand_kills

# The store's tests and a whole run on a real S3 server; fetches SeaweedFS and rclone once.
test-s3: build-tests
	$(with_torch) tests/s3/run $(bin) $(run_tests) --release --locked --workspace $(of_runtime)

# The batch script that users are given, on a real Slurm of two nodes: needs root and the packages slurm-wlm and munge, else it says SKIPPED.
test-slurm: build-tests
	$(with_torch) tests/slurm/run $(bin)

lint:
	cargo fmt --all --check
	$(with_torch) cargo clippy --release --locked --workspace --all-targets -- -D warnings

# Licenses, sources, known holes: deny.toml. The list of known holes is fetched from RustSec; where that cannot be reached, it says so.
deny:
	@cargo deny --version >/dev/null 2>&1 || { echo "cargo-deny is not installed: cargo install --locked cargo-deny"; exit 1; }
	cargo deny --locked --log-level error check bans licenses sources
	@if cargo deny fetch db 2>/dev/null; then cargo deny --locked check advisories; \
	else echo "SKIPPED: advisories: RustSec's database cannot be reached from here"; fi

# One file to carry to a machine with a GPU: it needs the driver and torch 2.11's libraries, found beside it or in LD_LIBRARY_PATH.
gpu-check:
	$(with_torch) cargo rustc --release --locked -p osler-engine --example gpu_check -- -C link-arg=-Wl,-rpath,'$$ORIGIN'
	strip -o $(bin)/gpu-check $(bin)/examples/gpu_check
	$(with_torch) $(bin)/gpu-check

# torch-dist's C++ under AddressSanitizer and UBSan, in its tests with real processes (minutes). libtorch itself has no such checks, and
# leaks are not looked for: it keeps much until the end. In a folder of its own, so that no other build links checked objects.
preload = $(shell c++ -print-file-name=libasan.so):$(shell c++ -print-file-name=libubsan.so)
sanitize:
	$(with_torch) OSLER_SANITIZE=1 CARGO_TARGET_DIR=$(target)/sanitize CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="env LD_PRELOAD=$(preload) ASAN_OPTIONS=detect_leaks=0" \
		cargo test --release --locked -p osler-torch-dist --test it -- --test-threads=1

bench: build-tests
	$(with_torch) .ci/bench $(bin)

# Heartbeats, placement and recovery of one real coordinator; AGENTS=1000 for one column.
AGENTS ?= 1000,10000
bench-control:
	cargo build --release --locked -p osler-coordinator --bins --example bench_control
	ulimit -n "$$(ulimit -Hn)" && timeout 240 $(bin)/examples/bench_control --agents $(AGENTS)

# PyTorch DDP, eager and compiled, and ours in turn.
bench-peers: build-tests
	$(with_torch) tests/peers/run $(bin)

# README's sample of a report, from a real run; CI compares its form.
sample: build
	.ci/quickstart sample

clean-quickstart:
	rm -rf osler-demo osler-store
