#!/usr/bin/env bash
# The short form of `hostler bench chaos`: a server is killed under load, each third time with its jailer, and in the end
# nothing is lost, nothing is doubled, and no tool has run twice. It says itself what is broken, and keeps it: by its exit
# status, and by the numbers that it wrote, which must say the same.
set -eu
kills=${HOSTLER_CHAOS_KILLS:-15}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

status=0
"$HOSTLER_BIN" bench chaos --kills "$kills" --sessions 6 --json "$place/chaos.json" || status=$?
[ "$status" -eq 0 ] || { echo "it ended with the status $status" >&2; exit 1; }
python3 - "$place/chaos.json" "$kills" <<'CHECK'
import json
import sys

report = json.load(open(sys.argv[1]))
amounts = {amount["name"].strip(): amount["value"] for amount in report["amounts"]}
assert amounts["servers killed"] == int(sys.argv[2]), amounts
assert amounts["promises broken"] == 0 and all(goal["reached"] for goal in report["goals"]), report
CHECK

# A run that cannot come to its end is no success either.
if TMPDIR="$place/nowhere" "$HOSTLER_BIN" bench chaos --kills 1 --sessions 1 --json "$place/none.json" 2>"$place/said"; then
    echo "a run without a place was a success" >&2
    exit 1
fi
grep -q nowhere "$place/said"
