#!/bin/bash
# launch.clusters.tpu runs this on every worker of a slice:
#
#   bash dlx/launch/clusters/tpu_worker.sh train ARGUMENTS   # trains; worker 0 shows the log
#   bash dlx/launch/clusters/tpu_worker.sh stop              # saves a checkpoint and ends the training
#   bash dlx/launch/clusters/tpu_worker.sh busy              # exit code 0 if training is running
#
# Training continues when the connection ends: the same command reattaches to it.

cd "$(dirname "$0")/../.." || exit

busy() {
  # After a reboot the process id may belong to another program.
  [ -e train.pid ] && grep -q launch.train "/proc/$(cat train.pid)/cmdline" 2> /dev/null
}

start() {
  rm -f train.code
  printf '%q ' "$@" > train.arguments
  if [ -e train.log ]; then mv train.log train.before.log; fi
  touch train.log  # `follow` may open it before the first output.
  # In its own session, so that it receives no hang-up when the connection ends.
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
  return "$(cat train.code || echo 137)"  # The file is missing if the shell was killed, too.
}

case $1 in
  busy) busy ;;
  stop)
    busy || { echo "no training is running here"; exit; }
    pkill -TERM -P "$(cat train.pid)"
    tail -f --pid="$(cat train.pid)" /dev/null
    ;;
  train)
    shift
    if ! busy; then
      start "$@"
    elif [ "$(printf '%q ' "$@")" != "$(cat train.arguments)" ]; then
      echo "another training is running here: $(cat train.arguments)" >&2
      exit 2
    fi
    follow
    ;;
esac
