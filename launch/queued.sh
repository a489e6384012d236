#!/usr/bin/env bash
# A TPU slice that is waited for, used unattended and given back when the run has ended.
#
#   export PROJECT=... ZONE=... NAME=... ACCELERATOR=v5litepod-16 WORKDIR=gs://.../...
#   launch/queued.sh keep --config=...      asks for the slice, again whenever it is taken away, and
#                                           deletes it once the run has ended, well or not
#   launch/queued.sh create --config=...    asks for it once
#   launch/queued.sh status                 WAITING_FOR_RESOURCES, PROVISIONING, ACTIVE, SUSPENDED ...
#   launch/queued.sh watch                  shows what the first machine says
#   launch/queued.sh delete                 gives the slice back, or no longer waits for it
#
# Each machine fetches the commit that is checked out here, and these flags, from WORKDIR/launch by
# itself whenever it starts (launch/startup.sh), so that the run goes on where it was saved. With
# SPOT=1 the slice is cheaper and may be taken away at any time; with NUM_SLICES=N it is N slices.
# With --dry_run before the verb the script prints what it would do.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh

verb=${1-}
[ -n "$verb" ] || usage
shift
in=(--project="${PROJECT:?Google Cloud project}" --zone="${ZONE:?zone of the slice}")
where=("${NAME:?name of the slice}" "${in[@]}")
queued=(gcloud compute tpus queued-resources)
looks=${SECONDS_BETWEEN_LOOKS:-300}
ended=${WORKDIR-}/launch/ended

# Puts the code and the flags where the machines will look for them.
upload() {
  local archive="${TMPDIR:-/tmp}/$NAME.tar.gz" arguments="${TMPDIR:-/tmp}/$NAME.arguments"
  pack "$archive"
  if [ -z "$dry_run" ]; then
    printf '%s\n' --distributed --workdir="$WORKDIR" "$@" >"$arguments"
  else
    echo "$(quoted printf '%s\n' --distributed --workdir="$WORKDIR" "$@") >$arguments"
  fi
  run gcloud storage cp "$archive" "$WORKDIR/launch/code.tar.gz"
  run gcloud storage cp "$arguments" "$WORKDIR/launch/arguments"
  run rm "$archive" "$arguments"
  # What the machines said of an earlier call.
  run gcloud storage rm "$ended" 2>/dev/null || true
}

ask() {
  local nodes=(--node-id="$NAME")
  if [ "${NUM_SLICES:-1}" -gt 1 ]; then
    nodes=(--node-count="$NUM_SLICES" --node-prefix="$NAME")
  fi
  run "${queued[@]}" create "${where[@]}" "${nodes[@]}" ${SPOT:+--spot} \
    --accelerator-type="$ACCELERATOR" --runtime-version="$version" \
    --scopes=https://www.googleapis.com/auth/cloud-platform \
    --metadata=ega-jax-folder="$WORKDIR/launch" \
    --metadata-from-file=startup-script=launch/startup.sh
}

state() { "${queued[@]}" describe "${where[@]}" --format="value(state.state)"; }

delete() { run "${queued[@]}" delete "${where[@]}" --force --quiet; }

case "$verb" in
  create | keep)
    version=$(runtime_version "${ACCELERATOR:?such as v5litepod-16}")
    case "${WORKDIR:?the folder of the run, gs://...}" in
      gs://?*) ;;
      *)
        echo "WORKDIR=$WORKDIR: must begin with gs://, where every machine can write" >&2
        exit 1
        ;;
    esac
    upload "$@"
    ask
    if [ "$verb" = create ]; then
      exit 0
    fi
    if [ -n "$dry_run" ]; then
      echo "# every $looks seconds, until $ended has an exit code; if SUSPENDED or FAILED:"
      delete
      ask
      echo "# then:"
      delete
      exit 0
    fi
    while true; do
      sleep "$looks"
      code=$(gcloud storage cat "$ended" 2>/dev/null) || code=
      # 75: told to stop, and goes on as soon as there are machines again.
      if [ -n "$code" ] && [ "$code" != 75 ]; then
        break
      fi
      # Whatever fails, as the network may have been away, is tried again at the next look.
      said=$(mktemp)
      if ! now=$(state 2>"$said"); then
        if grep -q NOT_FOUND "$said"; then
          ask || true # given back, but not asked for again yet
        fi
        rm "$said"
        continue
      fi
      rm "$said"
      echo "$(date +%H:%M) $now"
      if [ "$now" = SUSPENDED ] || [ "$now" = FAILED ]; then
        if delete; then
          ask || true
        fi
      fi
    done
    if [ "$code" = 0 ]; then
      sleep "$looks" # other machines may still be writing
    else
      echo "the program ended with exit code $code; see $ended.log" >&2
    fi
    for _ in 1 2 3 4 5 6; do
      if delete; then
        exit "$code"
      fi
      sleep "$looks"
    done
    echo "$NAME could not be given back and costs: launch/queued.sh delete" >&2
    exit 1
    ;;
  status)
    run "${queued[@]}" describe "${where[@]}" --format="value(state.state)"
    ;;
  watch)
    first=$NAME
    [ "${NUM_SLICES:-1}" -eq 1 ] || first=$NAME-0
    run gcloud compute tpus tpu-vm ssh "$first" "${in[@]}" --worker=0 \
      --command="sudo /opt/ega_jax/launch/host.sh watch"
    ;;
  delete)
    delete
    ;;
  *)
    usage
    ;;
esac
