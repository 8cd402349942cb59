#!/bin/sh
# Puts Debian's nats-server into a private folder and prints where the program is. Nothing is installed on
# the machine: the package is fetched with an apt state of its own and unpacked, no root needed.
#
#   WATTLE_NATS         the folder [default: $XDG_CACHE_HOME/wattle-ci/nats, else ~/.cache/wattle-ci/nats]
#   WATTLE_NATS_SUITE   Debian's suite [default: trixie, whose 2.10.27 unpacks on Debian 12 too]
#   WATTLE_NATS_MIRROR  Debian's mirror [default: the machine's own, else http://deb.debian.org/debian]
set -eu
umask 022
folder=${WATTLE_NATS:-${XDG_CACHE_HOME:-$HOME/.cache}/wattle-ci/nats}
suite=${WATTLE_NATS_SUITE:-trixie}
wanted=2.10.27
program=$folder/usr/sbin/nats-server
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

fail() { echo "tests/nats/install.sh: $*" >&2; exit 1; }

suits() { # whether the program is there and new enough
    [ -x "$program" ] || return 1
    found=$("$program" --version | sed -n 's/^nats-server: v//p')
    [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" = "$wanted" ]
}

if suits; then echo "$program"; exit; fi
command -v apt-get >/dev/null || fail "needs apt-get; or put nats-server $wanted or newer at $program"
[ -r "$keyring" ] || fail "needs Debian's keys in $keyring (package debian-archive-keyring)"
mirror=${WATTLE_NATS_MIRROR:-$(sed -n 's/^URIs: *\(http[^ ]*\/debian\)\/*$/\1/p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)}
mirror=${mirror:-http://deb.debian.org/debian}

mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
cat >"$work/debian.sources" <<END
Types: deb
URIs: $mirror
Suites: $suite
Components: main
Signed-By: $keyring
END
cat >"$work/apt.conf" <<END
Dir::State "$work/state";
Dir::State::status "$work/status";
Dir::Cache "$work/cache";
Dir::Etc::sourcelist "$work/debian.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
APT::Sandbox::User "root";
END
export APT_CONFIG="$work/apt.conf"
apt-get -q update >&2
(cd "$work" && apt-get -q download nats-server >&2)
dpkg -x "$work"/nats-server_*.deb "$work/unpacked"
rm -rf "$folder/usr"
mv "$work/unpacked/usr" "$folder/usr"
suits || fail "$mirror $suite has nats-server ${found:-?}; $wanted or newer is needed"
echo "$program"
