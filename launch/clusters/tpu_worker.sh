#!/bin/bash
# What launch.clusters.tpu runs on every worker of a slice:
#
#   bash dlx/launch/clusters/tpu_worker.sh train ARGUMENTS     # launch.train until it ends; worker 0 shows its log
#   bash dlx/launch/clusters/tpu_worker.sh stop                # asks it to save and end, and waits for that
#   bash dlx/launch/clusters/tpu_worker.sh busy                # fails unless a training goes on
#
# A training does not end with the connection: the same command follows it again.

cd "$(dirname "$0")/.." || exit

busy() {
  # Not any process: after the machine was started again another one may have the number.
  [ -e train.pid ] && grep -q launch.train "/proc/$(cat train.pid)/cmdline" 2> /dev/null
}

start() {
  rm -f train.code
  printf '%q ' "$@" > train.arguments
  if [ -e train.log ]; then mv train.log train.before.log; fi
  touch train.log  # `follow` may be faster than what comes.
  # In a session of its own, so that no hang-up reaches it.
  setsid nohup bash -c '
    .venv/bin/python -m launch.train "$@" --distributed
    echo $? > train.code
  ' train "$@" < /dev/null >> train.log 2>&1 &
  echo $! > train.pid
}

follow() {
  if [ "${TPU_WORKER_ID:-$(hostname | sed 's/.*-//')}" = 0 ]; then
    tail -n +1 -f --pid="$(cat train.pid)" train.log
  else
    tail -f --pid="$(cat train.pid)" /dev/null
  fi
  return "$(cat train.code || echo 137)"  # None is there when all was killed.
}

case $1 in
  busy) busy ;;
  stop)
    busy || { echo "no training goes on here"; exit; }
    pkill -TERM -P "$(cat train.pid)"
    tail -f --pid="$(cat train.pid)" /dev/null
    ;;
  train)
    shift
    if ! busy; then
      start "$@"
    elif [ "$(printf '%q ' "$@")" != "$(cat train.arguments)" ]; then
      echo "another training goes on here: $(cat train.arguments)" >&2
      exit 2
    fi
    follow
    ;;
esac
