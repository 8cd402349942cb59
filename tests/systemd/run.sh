#!/usr/bin/env bash
# The relay's unit under a real systemd: a small Debian with the relay in it, booted in a container with a
# network of its own. Takes a minute, and some more the first time.
#
#   tests/systemd/run.sh [PROGRAM or PACKAGE.deb, target/debug/wattle-rendezvous if none is named]
#
#   WATTLE_SYSTEMD        where the small Debian is kept [default: $XDG_CACHE_HOME/wattle-ci/systemd, else ~/.cache/…]
#   WATTLE_SYSTEMD_SUITE  which [default: bookworm]
#
# Needs root, debootstrap and systemd-nspawn, and a kernel that lets them; otherwise it says "skipped" and why, but
# with WATTLE_REQUIRE_ALL=1 fails.
set -euo pipefail
cd "$(dirname "$0")/../.."
relay=${1:-${CARGO_TARGET_DIR:-target}/debug/wattle-rendezvous}
suite=${WATTLE_SYSTEMD_SUITE:-bookworm}
kept=${WATTLE_SYSTEMD:-${XDG_CACHE_HOME:-$HOME/.cache}/wattle-ci/systemd}
unit=wattle-rendezvous
load=(--clients 10 --logs 4 --fan-out 3 --rate 50)

skip() { echo "skipped: $*"; [ "${WATTLE_REQUIRE_ALL:-}" != 1 ] || exit 1; exit 0; }

[ "$(id -u)" -eq 0 ] || skip "not root"
for need in debootstrap systemd-nspawn nsenter; do
    command -v "$need" >/dev/null || skip "no $need (packages debootstrap, systemd-container, util-linux)"
done
[ -e "$relay" ] || { echo "$relay is not there; first: cargo build -p rendezvous" >&2; exit 2; }

base=$kept/$suite
if [ ! -e "$base" ]; then
    mkdir -p "$kept"
    umount -R "$base.new"/* 2>/dev/null || true
    rm -rf "$base.new"
    debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus "$suite" "$base.new" >"$kept/debootstrap.log" ||
        { tail -20 "$kept/debootstrap.log"; skip "no Debian could be made"; }
    rm -rf "$base.new"/var/cache/apt/archives/*.deb "$base.new"/var/lib/apt/lists/*
    mv "$base.new" "$base"
fi

work=$(mktemp -d /var/tmp/wattle-systemd.XXXXXX)
root=$work/root container='' leader='' tracer=''
end() {
    [ -z "$tracer" ] || kill "$tracer" 2>/dev/null || true
    # systemd(1): whoever boots a container ends it by this signal.
    [ -z "$leader" ] || kill -s RTMIN+4 "$leader" 2>/dev/null || true
    if [ -n "$container" ]; then
        [ -n "$leader" ] || kill "$container" 2>/dev/null || true
        for _ in {1..150}; do kill -0 "$container" 2>/dev/null || break; sleep 0.1; done
        [ -z "$leader" ] || kill -KILL "$leader" 2>/dev/null || true
        kill -KILL "$container" 2>/dev/null || true
        wait "$container" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap end EXIT

cp -a --reflink=auto "$base" "$root"
conf=$root/etc/wattle-rendezvous
case $relay in
*.deb)
    cp "$relay" "$root/relay.deb"
    chroot "$root" dpkg -i /relay.deb
    ;;
*)
    install -m 755 "$relay" "$root/usr/bin/wattle-rendezvous"
    install -m 644 -D rendezvous/packaging/$unit.service -t "$root/usr/lib/systemd/system"
    mkdir -p "$conf" "$root/etc/systemd/system/multi-user.target.wants"
    "$relay" init --config - >"$conf/relay.toml"
    ln -s /usr/lib/systemd/system/$unit.service "$root/etc/systemd/system/multi-user.target.wants/"
    ;;
esac
settings() { printf '%s\n' "$@" >"$conf/relay.toml"; }
settings '[limits]' 'circuits = 16'

# --- the machine

# A machine whose control groups are of the first kind may have those of the second beside them.
boot='[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || { umount -R /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup; }; exec "$@"'
unshare --mount sh -c "$boot" boot systemd-nspawn --quiet --directory="$root" --boot --private-network --register=no \
    --keep-unit --machine="wattle-$$" --link-journal=no --console=pipe </dev/null >"$work/console" 2>&1 &
container=$!

inside() { nsenter --all -t "$leader" env -i PATH=/usr/sbin:/usr/bin HOME=/root LANG=C.UTF-8 "$@"; }
state() { inside systemctl show --property="$1" --value $unit; }
# Whoever reads a pipe no further has its writer fail: what is looked through is all there before.
said() { [[ $(journal) == *"$1"* ]]; }
journal() { inside journalctl --unit=$unit --no-pager --output=cat "$@"; }
failed() { # failed WHY: with what there is to see
    echo "FAILED: $*"
    tail -30 "$work/console"
    [ -z "$leader" ] || { inside systemctl status --no-pager --full --lines=0 $unit; journal | tail -40; } || true
    exit 1
}
ok() { echo "ok: $*"; }
is() { [ "$2" = "$3" ] || failed "$1 is '$2', not '$3'"; } # is WHAT FOUND WANTED
until_so() { # until_so WHAT COMMAND…: waits, for as long as a busy machine may need
    local what=$1 end=$((SECONDS + 180))
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 "$container" 2>/dev/null || failed "the machine ended before: $what"
        [ $SECONDS -lt $end ] || failed "never: $what"
        sleep 0.2
    done
}

leads() { # the first process of the machine
    local pid
    for pid in $(cat /proc/"$container"/task/*/children 2>/dev/null); do
        [ "$(cat /proc/"$pid"/comm 2>/dev/null)" != systemd ] || { leader=$pid && return; }
    done
    return 1
}
for _ in {1..300}; do
    ! leads || break
    kill -0 "$container" 2>/dev/null || break
    sleep 0.2
done
[ -n "$leader" ] || skip "no machine can be booted here: $(tail -1 "$work/console")"
booted() { [[ $(inside systemctl is-system-running) =~ ^(running|degraded)$ ]]; }
for _ in {1..600}; do
    ! booted 2>/dev/null || break
    kill -0 "$container" 2>/dev/null || break
    sleep 0.2
done
booted 2>/dev/null || skip "no machine comes up here: $(tail -1 "$work/console")"
version=$(inside systemctl --version)
ok "${version%%$'\n'*} is up"

# --- started

is_active() { [ "$(state ActiveState)" = active ]; }
is_again() { is_active && [ "$(state MainPID)" != "$1" ]; } # is_again PID: by another process than that
until_so "the relay is active" is_active
is "its type" "$(state Type)" notify
pid=$(state MainPID)
uid=$(inside stat -c %u "/proc/$pid")
[ "$uid" -ge 61184 ] && [ "$uid" -le 65519 ] || failed "its user $uid is none that was made for it"
has() { inside grep -qE "$1" "/proc/$pid/status" || failed "the process has not: $1"; }
has '^CapEff:\s0+$'
has '^NoNewPrivs:\s1$'
has '^Seccomp:\s2$'
own=/var/lib/private/$unit
is "the directories" "$(inside stat -c '%a %u' /var/lib/private $own $own/key | tr '\n' ' ')" "700 0 700 $uid 600 $uid "
sum() { inside sha256sum $own/key; }
before=$(sum)
ok "active by sd_notify, as user $uid, with no capability, under seccomp, its directory its own"

# --- under load, and nothing that it asks of the kernel is denied

outer() { # its number outside
    local status
    for status in /proc/[0-9]*/status; do
        [ "$(readlink "${status%/status}/ns/pid")" = "$(readlink "/proc/$leader/ns/pid")" ] || continue
        grep -qE "^NSpid:.*\s$pid\$" "$status" && basename "${status%/status}" && return
    done
}
if command -v strace >/dev/null; then
    pid_here=$(outer)
    strace -f -Z -qq -o "$work/trace" -p "$pid_here" 2>"$work/strace" &
    tracer=$!
    until_so "it is traced" grep -qE '^TracerPid:\s[1-9]' "/proc/$pid_here/status"
fi
inside wattle-rendezvous check 127.0.0.1 >"$work/check" 2>"$work/check.said" || { cat "$work/check"; failed "check"; }
grep -q '^circuit  *works' "$work/check" || { cat "$work/check"; failed "no circuit"; }
peer=$(head -1 "$work/check")
for way in tcp quic ws; do
    inside wattle-rendezvous bench 127.0.0.1 "${load[@]}" --seconds 5 --way $way >"$work/bench" 2>&1 || { cat "$work/bench"; failed "bench by $way"; }
done
denied="what was denied is not known: no strace"
if [ -n "$tracer" ]; then
    kill "$tracer" && wait "$tracer" || true
    tracer='' denied="no system call was denied"
    [ -s "$work/trace" ] || failed "nothing was traced"
    ! grep -E ' (EPERM|EACCES) ' "$work/trace" || failed "these calls were denied"
fi
is "how often it was started again" "$(state NRestarts)" 0
ok "appends, followers and a circuit, by TCP, QUIC and WebSocket: $denied"

# --- reload

says() { [ "$(state StatusText)" = "$1" ]; }
settings '[limits]' 'circuits = 16' 'ttl = "20days"'
inside systemctl reload $unit || failed "reload"
until_so "a setting holds" says "1 settings changed"
settings '[limits]' 'circuits = "many"'
inside systemctl reload $unit || failed "reload"
until_so "the settings are refused" says "the settings can't be followed: nothing has changed"
is "its process" "$(state MainPID)" "$pid"
ok "reload: what can be followed holds, what can't changes nothing"

# --- secrets from systemd, and a restart

token=$(head -c 24 /dev/urandom | base64)
(umask 077 && echo "$token" >"$conf/watch-token")
mkdir -p "$root/etc/systemd/system/$unit.service.d"
printf '%s\n' '[Service]' 'LoadCredential=watch-token:/etc/wattle-rendezvous/watch-token' 'WatchdogSec=6s' \
    >"$root/etc/systemd/system/$unit.service.d/override.conf"
settings "watch.token_file = \"/run/credentials/$unit.service/watch-token\"" '[limits]' 'circuits = 16'
inside systemctl daemon-reload
inside systemctl restart $unit
is "its state" "$(state ActiveState)" active
is "the key" "$(sum)" "$before"
inside env WATTLE_RENDEZVOUS_WATCH_TOKEN="$token" wattle-rendezvous status >/dev/null || failed "status with the token"
ended=0
inside env WATTLE_RENDEZVOUS_CONFIG=/dev/null wattle-rendezvous status >/dev/null 2>&1 || ended=$?
is "what status says without the token" $ended 4
of_relay=$(inside wattle-rendezvous token new --label ana --data-dir /var/lib/$unit 2>/dev/null | grep -o 'wtt1[^ ]*')
is "whose the list of tokens is" "$(inside stat -c %u $own/tokens.toml)" "$(inside stat -c %u $own)"
ok "a restart: the same key, a credential, and a token made by root"

# --- the watchdog

pid=$(state MainPID)
inside sh -c "kill -STOP $pid"
until_so "the watchdog has it started again" is_again "$pid"
[ "$(state NRestarts)" -ge 1 ] || failed "it was not started again"
said 'Watchdog timeout' || failed "no word of the watchdog"
is "the key" "$(sum)" "$before"
ok "a process that hangs is started again"

# --- the end

inside wattle-rendezvous bench 127.0.0.1 "${load[@]}" --seconds 600 >"$work/bench" 2>&1 &
bench=$!
status() { inside env WATTLE_RENDEZVOUS_WATCH_TOKEN="$token" wattle-rendezvous status --json; }
connected() { [[ $(status) == *'"clients":10'* ]]; }
until_so "clients are there" connected
start=$SECONDS
inside systemctl stop $unit
took=$((SECONDS - start))
wait $bench || true
is "how it ended" "$(state Result) $(state ExecMainStatus)" "success 0"
[ $took -lt 30 ] || failed "it took $took s to end"
said 'stopping: clients are told to go elsewhere' || failed "clients were told nothing"
ok "SIGTERM under load: clients are told, and it ends with 0 (in $took s)"

settings '[limits]' 'circuits = "many"'
! inside systemctl start $unit 2>/dev/null || failed "it starts with settings that can't be followed"
is "its state" "$(state ActiveState) $(state ExecMainStatus)" "failed 2"
settings "watch.token_file = \"/run/credentials/$unit.service/watch-token\"" '[limits]' 'circuits = 16'
inside systemctl start $unit
inside wattle-rendezvous check 127.0.0.1 >"$work/check" 2>"$work/check.said" || failed "check"
is "who it is" "$(head -1 "$work/check")" "$peer"
ok "settings that can't be followed are not tried again and again, and it is who it was"

# --- what the journal tells

inside cat $own/key >"$work/key"
journal >"$work/journal"
for secret in "$(od -An -v -tx1 "$work/key" | tr -d ' \n')" "$(base64 -w0 "$work/key")" "$token" "$of_relay"; do
    [ ${#secret} -ge 16 ] || failed "a secret is none"
    ! grep -qF -- "$secret" "$work/journal" || failed "a secret is in the journal"
done
[ "$(wc -l <"$work/journal")" -ge 10 ] || failed "the journal is empty"
ok "no key and no token in $(wc -l <"$work/journal") lines of the journal"

inside systemd-analyze security --no-pager $unit >"$work/security"
ok "systemd-analyze security: $(tail -1 "$work/security" | sed 's/^[^A-Za-z]*//')"
