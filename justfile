# What CI runs, in parts. `.ci/run` runs all of it; here are the steps that people want alone.
# List: just

export CARGO_TERM_COLOR := env("CARGO_TERM_COLOR", "auto")

[private]
default:
    @just --list --unsorted

# The whole of CI, which may take an hour.
ci:
    .ci/run

# Format everything.
fmt:
    cargo fmt --all

# Check format, lints and documentation.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features --locked --quiet -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items --locked --quiet

# Check licenses, bans and sources of dependencies.
deny:
    cargo deny check licenses bans sources

# Run all tests, against real servers.
test *ARGS:
    cargo test --workspace --locked {{ ARGS }}

# Run the end-to-end tests on a homeserver: conduit, synapse, tuwunel or dendrite.
e2e KIND="conduit" *ARGS:
    NATS_MATRIX_HOMESERVER_KIND={{ KIND }} cargo test --package nats-matrix --test e2e --locked -- {{ ARGS }}

# Check that the fuzz targets compile.
fuzz-check:
    RUSTC_BOOTSTRAP=1 cargo fuzz check --dev --sanitizer none

# Run one fuzz target for some seconds; needs a nightly toolchain.
fuzz TARGET SECONDS="300":
    mkdir -p fuzz/found/{{ TARGET }}
    cargo +nightly fuzz run --sanitizer none {{ TARGET }} fuzz/found/{{ TARGET }} fuzz/corpus/{{ TARGET }} -- -max_total_time={{ SECONDS }} -timeout=20

# Write the chapter of the book that shows the messages of other programs.
payloads:
    UPDATE_PAYLOADS=1 cargo test --package nats-matrix --lib --locked -- the_book_shows_every_sample

# Check the alert rules for Prometheus.
rules:
    promtool test rules bridge/monitoring/prometheus-rules-test.yml
    promtool check rules bridge/monitoring/prometheus-rules.yml

# Look at it on this machine.
demo *ARGS:
    cargo demo {{ ARGS }}

# Break everything around the bridge for some minutes.
soak MINUTES="2" *ARGS:
    cargo soak --minutes {{ MINUTES }} {{ ARGS }}

# Send hostile messages under a limit of 64 MiB.
memory:
    cargo memory

# Measure speed and size.
bench *ARGS:
    cargo bench-bridge {{ ARGS }}

# Measure bridge and homeserver over many messages.
bench-stack *ARGS:
    cargo bench-stack {{ ARGS }}

# Run scenarios in a virtual machine with Debian 12.
vm *SCENARIOS:
    cargo vm-test {{ SCENARIOS }}

# Check the Nix files, the test scripts and the units.
nix:
    .ci/nix

# Make the manual and the completions, in bridge/manual.
manual:
    cargo run --release --package nats-matrix-manual --locked -- bridge/manual

# Make the picture of a room for the README, with a built Cinny (github.com/cinnyapp/cinny) in DIRECTORY.
screenshot DIRECTORY:
    cargo screenshot {{ DIRECTORY }}

# Make the reference in the book and the JSON Schemas from the code; needs nix-instantiate.
reference:
    cargo reference

# Build the book into target/book.
book:
    mdbook build docs --dest-dir "{{ justfile_directory() }}/target/book"

# Build a release: package, bill of materials and checksums.
release DIRECTORY:
    .ci/release {{ DIRECTORY }}
