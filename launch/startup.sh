#!/usr/bin/env bash
# What each machine of a queued slice does when it starts (see queued.sh); root runs it.
set -euo pipefail
export HOME=${HOME:-/root} PATH=$PATH:/snap/bin
readonly FOLDER=${EGA_JAX_FOLDER:-/opt/ega_jax}

from=$(curl -sSf -H "Metadata-Flavor: Google" \
  http://metadata.google.internal/computeMetadata/v1/instance/attributes/ega-jax-folder)
mkdir -p "$FOLDER"
cd "$FOLDER"
gcloud storage cp "$from/code.tar.gz" "$from/arguments" .
tar -xzf code.tar.gz
launch/host.sh setup 'jax[tpu]'
mapfile -t arguments <arguments
ENDED="$from/ended" launch/host.sh start "${arguments[@]}"
