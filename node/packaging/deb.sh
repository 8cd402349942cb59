#!/usr/bin/env bash
# Builds the Debian package of the node into target/debian: deb.sh [PROFILE, release if none is named].
set -euo pipefail
cd "$(dirname "$0")/../.."
profile=${1:-release}
dir=$([ "$profile" = dev ] && echo debug || echo "$profile")
cargo build --locked -p node --bin wattle --profile "$profile"
node=${CARGO_TARGET_DIR:-target}/$dir/wattle
# Where Cargo.toml takes them from, wherever Cargo builds.
made=target/packaging/node
mkdir -p "$made"
"$node" man | gzip -n9 >"$made/wattle.1.gz"
for shell in bash zsh fish; do "$node" completions "$shell" >"$made/$shell"; done
# The unit that `wattle service install` writes, for the program where the package puts it.
sed -e 's|^ExecStart=.*|ExecStart=/usr/bin/wattle up|' \
    -e 's|; written by `wattle service install`, which writes it anew||' \
    node/src/cli/service/wattle.service >"$made/wattle.service"
cp "$node" "$made/wattle"
cargo deb --locked -p node --profile "$profile" --no-build --no-strip
