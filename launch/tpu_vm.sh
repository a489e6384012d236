#!/usr/bin/env bash
# A TPU slice as virtual machines, from one chip to a pod: the same on every machine of it.
#
#   export PROJECT=... ZONE=... NAME=... ACCELERATOR=v5litepod-16
#   launch/tpu_vm.sh create [--spot ...]    makes the slice, if there is none of that name
#   launch/tpu_vm.sh setup                  copies the checked-out commit there and installs it
#   launch/tpu_vm.sh start --config=... --workdir=gs://...
#   launch/tpu_vm.sh watch                  shows what the first machine says
#   launch/tpu_vm.sh stop                   has the run save and stop; start goes on with it
#   launch/tpu_vm.sh delete                 gives the slice back, with all that is on it
#
# With --dry_run before the verb it prints what it would do. Slices of many machines need a key in
# ssh-agent: ssh-add ~/.ssh/google_compute_engine.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh

verb=${1-}
[ -n "$verb" ] || usage
shift
in=(--project="${PROJECT:?Google Cloud project}" --zone="${ZONE:?zone of the slice}")
where=("${NAME:?name of the slice}" "${in[@]}")
tpu_vm=(gcloud compute tpus tpu-vm)

on_all() { run "${tpu_vm[@]}" ssh "${where[@]}" --worker=all --command="$1"; }

case "$verb" in
  create)
    version=$(runtime_version "${ACCELERATOR:?such as v5litepod-16}")
    if [ -z "$dry_run" ] && "${tpu_vm[@]}" describe "${where[@]}" >/dev/null 2>&1; then
      echo "$NAME is there already" >&2
      exit 0
    fi
    run "${tpu_vm[@]}" create "${where[@]}" \
      --accelerator-type="$ACCELERATOR" --version="$version" "$@"
    ;;
  setup)
    archive="${TMPDIR:-/tmp}/$NAME.tar.gz"
    pack "$archive"
    run "${tpu_vm[@]}" scp "$archive" "$NAME:code.tar.gz" "${in[@]}" --worker=all
    run rm "$archive"
    on_all "mkdir -p ega_jax && tar -xzf code.tar.gz -C ega_jax"
    on_all "ega_jax/launch/host.sh setup 'jax[tpu]'"
    ;;
  start)
    on_all "$(quoted ega_jax/launch/host.sh start --distributed "$@")"
    ;;
  watch)
    run "${tpu_vm[@]}" ssh "${where[@]}" --worker=0 --command="ega_jax/launch/host.sh watch"
    ;;
  stop)
    on_all "ega_jax/launch/host.sh stop"
    ;;
  delete)
    run "${tpu_vm[@]}" delete "${where[@]}" --quiet
    ;;
  *)
    usage
    ;;
esac
