#!/usr/bin/env bash
# What one machine does, in the checkout that this script lies in.
#
#   launch/host.sh setup PACKAGE...   makes .venv of these (such as jax[tpu]) and the requirements
#   launch/host.sh start FLAG...      starts the program in the background, if it is not running
#   launch/host.sh watch              shows what it says, from now on
#   launch/host.sh stop               has it save and stop, and waits for that
set -euo pipefail
cd "$(dirname "$0")/.."
. launch/common.sh

# True while the program that run.pid names is running (a number may have come to another).
running() {
  [ -e run.pid ] && ps -p "$(cat run.pid)" -o args= 2>/dev/null | grep -q until_done.sh
}

case "${1-}" in
  setup)
    shift
    # uv brings a Python of its own where the machine's is too old.
    run env PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv
    if [ ! -d .venv ]; then
      run python3 -m uv venv --python '>=3.11,<3.14' .venv
    fi
    run python3 -m uv pip install --quiet --python .venv/bin/python "$@" -r requirements.txt
    ;;
  start)
    shift
    if running; then
      echo "is running already, as $(cat run.pid); see launch/host.sh watch" >&2
      exit 0
    fi
    if [ -n "$dry_run" ]; then
      quoted launch/until_done.sh .venv/bin/python -m ega_jax.main "$@"
      exit 0
    fi
    nohup launch/until_done.sh .venv/bin/python -m ega_jax.main "$@" >>run.log 2>&1 </dev/null &
    echo $! >run.pid
    ;;
  watch)
    run tail -n 50 -F run.log
    ;;
  stop)
    if ! running; then
      echo "is not running" >&2
      exit 0
    fi
    run kill -TERM "$(cat run.pid)"
    while [ -z "$dry_run" ] && running; do
      sleep 1
    done
    ;;
  *)
    usage
    ;;
esac
