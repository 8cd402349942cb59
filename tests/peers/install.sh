#!/bin/sh
# Puts Debian's mosquitto into a private folder and prints where the program is. Nothing is installed on the
# machine: package and libraries are fetched and unpacked, no root needed. nats-server: tests/nats/install.sh.
#
#   WATTLE_PEERS   the folder [default: $XDG_CACHE_HOME/wattle-ci/peers, else ~/.cache/wattle-ci/peers]
set -eu
umask 022
folder=${WATTLE_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/wattle-ci/peers}
program=$folder/mosquitto
if [ -x "$program" ]; then echo "$program"; exit; fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
apt-get -q update >&2 || true
# What mosquitto needs beside what every Debian has.
(cd "$work" && apt-get -q download mosquitto libcjson1 libdlt2 libmosquitto1 libwebsockets17 libwrap0 libev4 libuv1 >&2)
mkdir -p "$folder/root"
for package in "$work"/*.deb; do dpkg -x "$package" "$folder/root"; done
libraries=$(find "$folder/root" -name '*.so.*' -exec dirname {} + | sort -u | paste -sd :)
cat >"$program" <<END
#!/bin/sh
LD_LIBRARY_PATH='$libraries' exec '$folder/root/usr/sbin/mosquitto' "\$@"
END
chmod 755 "$program"
"$program" -h | head -n 1 >&2
"$program" -h >/dev/null 2>&1 || [ $? -lt 126 ] || { rm "$program"; echo "tests/peers/install.sh: mosquitto does not start" >&2; exit 1; }
echo "$program"
