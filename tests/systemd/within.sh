#!/bin/bash
# What `run.sh` does inside of its Debian.
set -euo pipefail
unit=wattle-rendezvous
dropin=/etc/systemd/system/$unit.service.d
trap 'echo "at line $LINENO:"; systemctl status --no-pager -l $unit; journalctl --no-pager -u $unit | tail -40' ERR

holds() { echo "holds: $*"; }
show() { systemctl show -P "$1" $unit; }
until_true() { # SECONDS COMMAND…
    local end=$((SECONDS + $1)); shift
    until "$@"; do [ $SECONDS -lt $end ] || return 1; sleep 0.2; done
}
ready() { [ "$(show ActiveState)/$(show SubState)" = active/running ]; }
another() { ready && [ "$(show MainPID)" != "$1" ]; }

ip link set lo up 2>/dev/null || true
dpkg -i /root/relay.deb >/dev/null
systemctl is-enabled --quiet $unit
until_true 30 ready
holds "installed, enabled, and started: it has told the manager that it is ready"

pid=$(show MainPID)
[ "$(ps -o uid= -p "$pid")" -ne 0 ]
[ "$(stat -c %a /var/lib/private/wattle-rendezvous)" = 700 ]
[ "$(stat -c %u /var/lib/private/wattle-rendezvous/key)" = "$(ps -o uid= -p "$pid" | tr -d ' ')" ]
[ "$(stat -c %a /var/lib/private/wattle-rendezvous/key)" = 600 ]
grep -q '^CapEff:[[:space:]]*0*$' "/proc/$pid/status"
grep -q '^NoNewPrivs:[[:space:]]*1$' "/proc/$pid/status"
grep -q '^Seccomp:[[:space:]]*2$' "/proc/$pid/status"
holds "it runs as a user of its own without capabilities, behind a filter of system calls; its key is its own"

wattle-rendezvous check 127.0.0.1:4407
holds "it is found well from outside"

key=$(sha256sum </var/lib/private/wattle-rendezvous/key)
mkdir -p $dropin
printf '[Service]\nWatchdogSec=4s\nRestartSec=1s\n' >$dropin/try.conf
systemctl daemon-reload
systemctl restart $unit
pid=$(show MainPID)
sleep 9
[ "$(show MainPID)" = "$pid" ]
holds "it pets its watchdog"
kill -STOP "$pid"
until_true 60 another "$pid"
journalctl --no-pager -u $unit | grep -qi 'watchdog timeout'
holds "one that hangs is started again"
pid=$(show MainPID)
kill -KILL "$pid"
until_true 30 another "$pid"
holds "one that was killed is started again"

systemctl stop $unit
[ "$(show Result)/$(show ExecMainStatus)" = success/0 ]
holds "it stops cleanly"
! wattle-rendezvous repair --data-dir /var/lib/private/wattle-rendezvous >/dev/null 2>&1 ||
    [ "$(stat -c %u /var/lib/private/wattle-rendezvous/key)" -ne 0 ]
systemctl start $unit
until_true 30 ready
holds "it starts again after root has repaired its store"

printf 'nonsense = 1\n' >>/etc/wattle-rendezvous/relay.toml
pid=$(show MainPID)
if systemctl cat $unit | grep -q '^Type=notify-reload\|^ExecReload='; then
    systemctl reload $unit || true
    sleep 1
    [ "$(show MainPID)" = "$pid" ] && ready
    journalctl --no-pager -u $unit | grep -q nonsense
    holds "settings with an error change nothing when it reads them again, and are told"
fi
systemctl restart $unit || true
sleep 3
[ "$(show ActiveState)" = failed ]
[ "$(show NRestarts)" -le 1 ]
holds "with settings that can't be followed it fails, and is not tried again and again"
sed -i '/^nonsense/d' /etc/wattle-rendezvous/relay.toml
systemctl reset-failed $unit
systemctl start $unit
until_true 30 ready
[ "$(sha256sum </var/lib/private/wattle-rendezvous/key)" = "$key" ]
holds "it is the same relay after all that"

dpkg -r wattle-rendezvous >/dev/null
! pgrep -x wattle-rendezvou >/dev/null
[ -e /var/lib/private/wattle-rendezvous/key ]
holds "removed, it has ended, and its key is still there"
echo 'all of it holds'
