#!/usr/bin/env bash
# Tries the relay's Debian package under systemd: a Debian of its own is made with debootstrap, started with
# systemd-nspawn, and the package is installed, used, broken and removed in it by `within.sh`. As root, with the
# packages debootstrap and systemd-container.
#
#   tests/systemd/run.sh PACKAGE.deb
#
#   WATTLE_SUITE   Debian's suite [default: bookworm]
#   WATTLE_MIRROR  Debian's mirror [default: the machine's own, else http://deb.debian.org/debian]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
package=$(realpath "$1")
suite=${WATTLE_SUITE:-bookworm}
own=$(sed -n 's/^URIs: *\(http[^ ]*\/debian\)\/*$/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
mirror=${WATTLE_MIRROR:-${own:-http://deb.debian.org/debian}}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wattle-ci/systemd-$suite.tar
PATH=$PATH:/usr/sbin:/sbin

fail() { echo "FAILED: $*" >&2; exit 1; }
[ "$(id -u)" -eq 0 ] || fail "needs root"
for need in debootstrap systemd-nspawn; do
    command -v $need >/dev/null || fail "needs $need (packages debootstrap and systemd-container)"
done

work=$(mktemp -d /var/tmp/wattle-systemd.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
mkdir "$root"
if [ ! -e "$cache" ]; then
    mkdir -p "$(dirname "$cache")"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,procps,libgcc-s1 "$suite" "$root" "$mirror" >"$work/log" 2>&1 ||
        { tail -5 "$work/log" >&2; fail "debootstrap"; }
    tar -C "$root" -cf "$cache.new" . && mv "$cache.new" "$cache"
else
    tar -C "$root" -xf "$cache"
fi

cp "$package" "$root/root/relay.deb"
install -m 755 "$here/within.sh" "$root/root/within.sh"
cat >"$root/etc/systemd/system/try.service" <<'END'
[Unit]
Description=Tries the relay
After=dbus.service
[Service]
Type=oneshot
ExecStart=/root/within.sh
StandardOutput=append:/root/said
StandardError=append:/root/said
TimeoutStartSec=5min
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
END
ln -s /etc/systemd/system/try.service "$root/etc/systemd/system/multi-user.target.wants/"
timeout 400 systemd-nspawn --quiet --boot --register=no --keep-unit --private-network --directory="$root" \
    --console=pipe </dev/null >"$work/console" 2>&1 || true
[ -s "$root/root/said" ] || { tail -30 "$work/console" >&2; fail "that system did not start"; }
cat "$root/root/said"
tail -n 1 "$root/root/said" | grep -qx 'all of it holds' || fail "see above"
