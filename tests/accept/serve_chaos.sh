#!/usr/bin/env bash
# The short form of `hostler bench chaos`: a server is killed under load, each third time with its jailer, and in the end
# nothing is lost, nothing is doubled, and no tool has run twice. It says itself what is broken, and keeps it.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"$HOSTLER_BIN" bench chaos --kills "${HOSTLER_CHAOS_KILLS:-15}" --sessions 6 --json "$place/chaos.json"
