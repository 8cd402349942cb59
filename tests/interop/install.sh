#!/bin/sh
# Puts js-libp2p, as tests/interop/package-lock.json names it, into a private folder and prints where. Needs
# Node.js and npm (packages nodejs and npm); no script of any package is run.
#
#   WATTLE_INTEROP   the folder [default: $XDG_CACHE_HOME/wattle-ci/interop, else ~/.cache/wattle-ci/interop]
set -eu
umask 022
here=$(cd "$(dirname "$0")" && pwd)
folder=${WATTLE_INTEROP:-${XDG_CACHE_HOME:-$HOME/.cache}/wattle-ci/interop}

if ! { [ -d "$folder/node_modules" ] && cmp -s "$here/package-lock.json" "$folder/package-lock.json"; }; then
    command -v npm >/dev/null || { echo "tests/interop/install.sh: needs npm (packages nodejs and npm)" >&2; exit 1; }
    rm -rf "$folder"
    mkdir -p "$folder"
    cp "$here/package.json" "$here/package-lock.json" "$folder"
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund >&2) || { rm -rf "$folder"; exit 1; }
fi
echo "$folder"
