#!/usr/bin/env bash
# Builds the Debian package of the relay into target/debian: deb.sh [PROFILE, release if none is named].
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-release}
dir=$([ "$profile" = dev ] && echo debug || echo "$profile")
cargo build --locked -p rendezvous --profile "$profile"
relay=${CARGO_TARGET_DIR:-target}/$dir/wattle-rendezvous
# Where Cargo.toml takes them from, wherever Cargo builds.
made=target/packaging
mkdir -p "$made"
"$relay" man | gzip -n9 >"$made/wattle-rendezvous.1.gz"
for shell in bash zsh fish; do "$relay" completions "$shell" >"$made/$shell"; done
"$relay" init --config - >"$made/relay.toml"
cp "$relay" "$made/wattle-rendezvous"
cargo deb --locked -p rendezvous --profile "$profile" --no-build --no-strip
