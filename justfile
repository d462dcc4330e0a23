# Commands for daily work; `just --list` shows them.

# Feed a recording of several invocations through the whole agent and print what would be sent
demo:
    cargo run --release -- run --events fixtures/runs/checkout.ndjson --out -

# Everything that must pass before a commit
check: fmt lint test size

# Is every file formatted?
fmt:
    cargo fmt --check

# Compiler and clippy warnings, all of them errors; and the targets of fuzz/ compile, for which its C++ part is not needed
lint:
    cargo clippy --all-targets -- --deny warnings
    CUSTOM_LIBFUZZER_PATH=/nowhere/libfuzzer.a CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}" \
        cargo check --manifest-path fuzz/Cargo.toml

# Unit and integration tests
test:
    cargo test

# Every position, many seeds and 200 kills where the tests take a sample, and 20 minutes without an intake
soak:
    tests/e2e/run "$(.ci/cross "$(uname -m)-unknown-linux-musl" build | tail -n 1)" soak
    SOAK=1 cargo test --test spool_files
    KILLS=200 cargo test --test kills -- --nocapture

# Real tracers send to the release binary, a fake intake compares
e2e: release
    tests/e2e/run target/release/mote

# Random requests and texts for a target of fuzz/, or for `all` (needs nightly Rust and cargo-fuzz)
fuzz TARGET SECONDS="60":
    fuzz/run {{TARGET}} {{SECONDS}}

# Figures against the budgets
bench:
    cargo bench

# Sizes of the stripped release binaries, against their budgets
size: release
    .ci/size

# The release binary for this machine
release:
    cargo build --release

# Init scripts and packages, tried with the static program for this machine (needs root)
packages:
    tests/packaging/run "$(.ci/cross "$(uname -m)-unknown-linux-musl" build | tail -n 1)"

# Lambda layers for x86_64 and arm64
layer OUT="dist":
    packaging/build x86_64-unknown-linux-musl "$(.ci/cross x86_64-unknown-linux-musl build | tail -n 1)" {{OUT}} layer
    packaging/build aarch64-unknown-linux-musl "$(.ci/cross aarch64-unknown-linux-musl build | tail -n 1)" {{OUT}} layer

# A release: four static programs, packages, layers, checksums and SBOMs, tried, tested on ARM and built twice
dist OUT="dist":
    packaging/dist {{OUT}}
