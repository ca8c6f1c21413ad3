# Convenience only: nothing needs `just`, each recipe is a line that can be typed.

# what CI runs
ci:
    .ci/run

# all tests
test:
    cargo test

# format, lints, documentation
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

# ratios against the bare machine
bench:
    cargo bench

# the built-in demo
demo:
    cargo run --release
