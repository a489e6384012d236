#!/usr/bin/env bash
# Several processes on this machine, which work as the machines of a pod do: for trying that.
#
#   launch/local.sh 2 python -m ega_jax.main --config=configs/quickstart.py
#
# (One process uses all the devices of a machine by itself.) Each line is headed by its process's
# number. A SIGTERM or SIGINT is passed on to all; if one process fails the others are stopped, and
# its exit code is the script's. With --dry_run before the number it prints what it would do.
set -euo pipefail
# shellcheck source=launch/common.sh
. "$(dirname "$0")/common.sh"

[[ ${1-} =~ ^[1-9][0-9]*$ && $# -ge 2 ]] || usage
count=$1
shift
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}

port=PORT
if [ -z "$dry_run" ]; then
  port=$(python3 -c 'import socket; print(socket.create_server(("localhost", 0)).getsockname()[1])')
fi
processes=()
trap 'kill -TERM "${processes[@]}" 2>/dev/null || true' TERM INT
for ((i = 0; i < count; i++)); do
  flags=(--distributed --coordinator_address="localhost:$port"
    --process_count="$count" --process_id="$i")
  if [ -n "$dry_run" ]; then
    quoted "$@" "${flags[@]}"
  else
    "$@" "${flags[@]}" > >(sed -u "s/^/[$i] /") 2>&1 &
    processes+=($!)
  fi
done

result=0
while [ ${#processes[@]} -gt 0 ]; do
  code=0
  wait -n -p ended "${processes[@]}" || code=$?
  # A signal ends `wait` early, without a process.
  [ -n "${ended-}" ] || continue
  remaining=()
  for process in "${processes[@]}"; do
    [ "$process" -eq "$ended" ] || remaining+=("$process")
  done
  processes=("${remaining[@]}")
  if [ "$code" -ne 0 ] && [ "$result" -eq 0 ]; then
    result=$code
    # What ends with 75 was told to stop, and so were the others: leave them to save.
    [ "$code" -eq 75 ] || kill -TERM "${processes[@]}" 2>/dev/null || true
  fi
done
exit "$result"
