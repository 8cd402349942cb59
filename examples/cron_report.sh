#!/bin/sh
# A cron job whose report has arrived, or it says that it has not.
#
#   0 6 * * *  examples/cron_report.sh ops 1h df -h
#
# What the command writes is one message, or several where it is long; where it writes nothing, nothing is sent. Then
# each member's node has it within the time, or this ends with 8 and says who lacks it, which cron mails: the node goes
# on delivering all the same. Where the command itself fails, that is said in the message, and its exit code is this one's.
set -u
if [ $# -lt 3 ]; then
    echo "usage: $0 GROUP TIME COMMAND…" >&2
    exit 2
fi
group=$1 time=$2
shift 2
report=$("$@" 2>&1)
failed=$?
if [ $failed -ne 0 ]; then
    report="$report
(it failed with $failed)"
fi
[ -n "$report" ] || exit 0
printf '%s\n' "$report" | wattle send "$group" --block --wait all --timeout "$time" || exit
exit $failed
