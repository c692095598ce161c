# What people run by hand. Logic lives in `xtask` and in `./test`.
default:
    @just --list
ci:
    .ci/run
test *stages:
    ./test {{stages}}
fmt:
    cargo fmt --all
lint:
    cargo clippy --release --workspace --all-targets -- -D warnings
tidy:
    cargo xtask tidy
build:
    cargo build --release
dist:
    cargo xtask dist
unit crate:
    cargo test --release --package {{crate}}
security:
    cargo test --release --package hostler --test security -- --show-output
accept:
    ./test build accept
bench *arguments:
    cargo run --release -- bench {{arguments}}
doctor:
    cargo run --release -- doctor
example:
    cargo run --release -- run --workspace examples/bugfix "The tests fail. Find out why and fix it."
