#!/usr/bin/env bash
# Runs a training command again for as long as it ends with 75: "told to stop, state saved".
#
#   launch/until_done.sh python -m ega_jax.main --config=configs/quickstart.py
#
# For machines that take a process away and let the next one start. A SIGTERM or SIGINT to this
# script itself is passed on, and the script ends with the command. Any other exit code ends it too.
# Where ENDED=gs://... is set, that file receives the exit code, and ENDED.log what run.log says.
set -u
readonly STOPPED=75

if [ $# -eq 0 ]; then
  echo "usage: $0 COMMAND [ARGUMENT...]" >&2
  exit 2
fi

asked=0
trap 'asked=1; kill -TERM "$child" 2>/dev/null' TERM INT
while true; do
  "$@" &
  child=$!
  wait "$child"
  code=$?
  # A signal to the script ends `wait` early; the command is then still saving.
  while kill -0 "$child" 2>/dev/null; do
    wait "$child"
    code=$?
  done
  if [ "$code" -ne "$STOPPED" ] || [ "$asked" -eq 1 ]; then
    if [ -n "${ENDED-}" ]; then
      [ ! -e run.log ] || gcloud storage cp run.log "$ENDED.log"
      echo "$code" | gcloud storage cp - "$ENDED"
    fi
    exit "$code"
  fi
  echo "stopped and saved; going on" >&2
done
