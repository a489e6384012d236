# shellcheck shell=bash
# Read by the scripts beside it: --dry_run, the checkout as an archive, what Google calls things.

dry_run=
if [ "${1-}" = --dry_run ]; then
  dry_run=1
  shift # the caller's arguments: this file is read without its own
fi

# Does a command or, with --dry_run, prints it as one could type it.
run() {
  if [ -z "$dry_run" ]; then
    "$@"
  else
    quoted "$@"
  fi
}

# Prints words as one could type them.
quoted() {
  local word line=
  for word in "$@"; do
    if [[ ! $word =~ ^[A-Za-z0-9_./:=,@%+-]+$ ]]; then
      word="'${word//\'/\'\\\'\'}'"
    fi
    line+="${line:+ }$word"
  done
  echo "$line"
}

# Packs the commit that is checked out, without its history.
pack() {
  if [ -n "$(git status --porcelain)" ]; then
    echo "note: changes that are not committed stay here" >&2
  fi
  run git archive --format=tar.gz --output="$1" HEAD
}

# Prints the machine image for an accelerator type such as v5litepod-16.
# https://cloud.google.com/tpu/docs/runtimes
runtime_version() {
  case "$1" in
    v6e-*) echo v2-alpha-tpuv6e ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v[234]-*) echo tpu-ubuntu2204-base ;;
    *)
      echo "ACCELERATOR=$1 is none of v4-N, v5litepod-N, v5p-N, v6e-N" >&2
      return 1
      ;;
  esac
}

# Prints the comment that the script begins with, and ends it.
usage() {
  awk 'NR > 1 { if (!/^#/) exit; sub(/^# ?/, ""); print }' \
    "$(dirname "${BASH_SOURCE[0]}")/$(basename "$0")" >&2
  exit 2
}
