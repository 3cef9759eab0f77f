#!/usr/bin/env bash
# ci/engine.sh COMMAND…: runs a command where a Docker engine answers. One that answers already is left alone. Where none
# does, Debian's own (docker.io, installed if it is missing) is started for the command: with data, socket and pid file in a
# private folder, and ended with it. That takes root; without it the command runs with no engine, and says what it leaves out.
set -euo pipefail

say() { printf 'engine: %s\n' "$*" >&2; }
answers() {
  if command -v curl >/dev/null; then
    curl --silent --fail --max-time 5 --unix-socket "$1" http://engine/_ping >/dev/null 2>&1
  else
    DOCKER_HOST="unix://$1" timeout 5 docker version >/dev/null 2>&1
  fi
}

[ $# -gt 0 ] || { say "what to run? ci/engine.sh COMMAND…"; exit 2; }
host="${DOCKER_HOST:-unix:///var/run/docker.sock}"
if [ "${host#unix://}" = "$host" ] || answers "${host#unix://}"; then
  exec "$@"
fi
if [ "$(id -u)" != 0 ]; then
  say "none answers at $host, and only root can start one"
  exec "$@"
fi
if ! command -v dockerd >/dev/null; then
  say "installing docker.io"
  { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends docker.io iptables; } \
    >/dev/null 2>&1 || { say "failed to install docker.io with apt-get"; exit 3; }
fi

# On a disk: images are for more than this command's memory.
folder="$(mktemp -d "${ENGINE_FOLDER:-/var/tmp}/conformance-engine.XXXXXX")"
socket="$folder/docker.sock"
engine=

end() {
  if [ -n "$engine" ] && kill -TERM "$engine" 2>/dev/null; then
    # It ends its containers and its containerd first, and takes no longer than its own limit for that.
    wait "$engine" 2>/dev/null || true
  fi
  # What containers had mounted goes with them; what an engine that was killed left is let go here.
  awk -v folder="$folder/" 'index($2, folder) == 1 { print $2 }' /proc/mounts | sort -r | xargs -r -n 1 umount 2>/dev/null || true
  rm -rf --one-file-system "$folder"
}
trap end EXIT

start() {
  dockerd --data-root "$folder/data" --exec-root "$folder/exec" --pidfile "$folder/pid" --host "unix://$socket" \
    --storage-driver "$1" --userland-proxy=false --shutdown-timeout 5 >"$folder/log" 2>&1 &
  engine=$!
  until answers "$socket"; do
    kill -0 "$engine" 2>/dev/null || { engine=; return 1; }
    [ "$SECONDS" -lt "$deadline" ] || { kill -KILL "$engine"; wait "$engine" 2>/dev/null || true; engine=; return 1; }
    sleep 0.2
  done
}

# Not every filesystem carries an overlay; copies work everywhere.
deadline=$((SECONDS + 60))
if ! start overlay2; then
  deadline=$((SECONDS + 60))
  rm -rf --one-file-system "$folder/data" "$folder/exec"
  start vfs || { say "failed to start dockerd; it said last:"; tail -n 5 "$folder/log" >&2; exit 3; }
fi
say "started $(dockerd --version) for this command"

# A signal for this script is for the command: it ends in its own way, and the engine after it.
DOCKER_HOST="unix://$socket" "$@" &
command=$!
trap 'kill -TERM "$command" 2>/dev/null || true' TERM
trap 'kill -INT "$command" 2>/dev/null || true' INT
code=0
wait "$command" || code=$?
while kill -0 "$command" 2>/dev/null; do code=0; wait "$command" || code=$?; done
exit "$code"
