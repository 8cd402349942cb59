#!/bin/sh
# A log shipper: what a program that never ends writes becomes messages.
#
#   journalctl -f -u web | examples/log_shipper.sh ops
#
# What comes until a pause of a second is one message. WATTLE_DATA_DIR says which node, and `wattle up` need not be
# there yet. No more than a few thousand messages are on their way to a relay: where it is away for longer, the pipe
# fills, and whoever writes into it waits. After a day without it this ends with 8, and a service manager starts it again.
set -eu
if [ $# -ne 1 ]; then
    echo "usage: … | $0 GROUP" >&2
    exit 2
fi
until wattle status > /dev/null 2>&1; do
    echo "the node is not running yet: wattle up starts it" >&2
    sleep 10
done
exec wattle send "$1" --block --wait stored --timeout 1d
