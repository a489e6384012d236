#!/usr/bin/env bash
# TPU slices in a Kubernetes cluster, by xpk (pip install xpk; it needs Docker, kubectl, a cluster).
#
#   export PROJECT=... ZONE=... CLUSTER=... NAME=... TPU_TYPE=v5litepod-16 NUM_SLICES=1 IMAGE=...
#   launch/gke.sh create --config=... --workdir=gs://...
#   launch/gke.sh status
#   launch/gke.sh delete
#
# IMAGE holds the requirements and jax[tpu] (launch/Dockerfile); the checkout is put on top of it.
# Told to stop, a machine saves and ends; the workload is then started again, up to 100 times.
# With --dry_run before the verb it prints what it would do.
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh

verb=${1-}
[ -n "$verb" ] || usage
shift
where=(--project="${PROJECT:?Google Cloud project}" --zone="${ZONE:?zone of the cluster}"
  --cluster="${CLUSTER:?name of the cluster}")

case "$verb" in
  create)
    run xpk workload create "${where[@]}" --workload="${NAME:?name of the run}" \
      --tpu-type="${TPU_TYPE:?such as v5litepod-16}" --num-slices="${NUM_SLICES:?number of slices}" \
      --base-docker-image="${IMAGE:?image with the requirements}" --script-dir=. --max-restarts=100 \
      --command="$(quoted launch/until_done.sh python -m ega_jax.main --distributed "$@")"
    ;;
  status)
    run xpk workload list "${where[@]}"
    ;;
  delete)
    run xpk workload delete "${where[@]}" --workload="${NAME:?name of the run}"
    ;;
  *)
    usage
    ;;
esac
