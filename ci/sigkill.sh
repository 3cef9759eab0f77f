#!/usr/bin/env bash
# ci/sigkill.sh [N]: kills N (20) runs on the platform `docker` with SIGKILL at random moments, every second one with all of
# its cells, reaps once, and looks for what is left: containers, networks, volumes, processes, private folders, mounts.
# Prints a line for each, and ends with 1 when anything was left.
set -euo pipefail
cd "$(dirname "$0")/.."

times="${1:-20}"
conformance="${CONFORMANCE:-target/debug/conformance}"
output="$(mktemp -d)"
pid=
# A run that is not killed yet when this script ends would go on by itself.
trap '[ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null || true; rm -rf "$output"' EXIT
# Through cargo's target folder, so that nothing is built while something is to be killed.
[ -x "$conformance" ] || cargo build --quiet --locked --package harness --bin conformance

processes_of() { grep -lsz "^CONFORMANCE_RUN=$1\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true; }
# The cells: they work for the run's folder.
cells_of() { grep -lsz "^CONFORMANCE_RUN_FOLDER=.*/$1\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 || true; }
labelled() { docker "$1" ls ${2:+"$2"} --quiet --filter "label=conformance.run=$3"; }
left_of() {
  labelled container --all "$1" | sed 's/^/container /'
  labelled network "" "$1" | sed 's/^/network /'
  labelled volume "" "$1" | sed 's/^/volume /'
  processes_of "$1" | sed 's/^/process /'
  cells_of "$1" | sed 's/^/cell /'
  find /dev/shm "${TMPDIR:-/tmp}" -maxdepth 1 -name "*$1*" 2>/dev/null | sed 's/^/folder /'
  awk -v run="$1" 'index($2, run) { print "mount " $2 }' /proc/mounts
}

bad=0 seen=0 reaped=0
for ((i = 1; i <= times; i++)); do
  # A session of its own, so that its process group is all of it.
  : >"$output/err"
  setsid "$conformance" run --platform docker --check rotation --output "$output" >"$output/out" 2>"$output/err" &
  pid=$!
  run=
  until run="$(sed -n 's/^run \([0-9a-f-]*\):.*/\1/p' "$output/err")" && [ -n "$run" ]; do
    kill -0 "$pid" 2>/dev/null || { cat "$output/err" >&2; echo "the run did not begin" >&2; exit 3; }
    sleep 0.1
  done
  # The random moment: every fifth before anything may be there, the others while cells begin, work and end.
  if ((i % 5 != 0)); then
    until [ -n "$(labelled network "" "$run")" ]; do
      kill -0 "$pid" 2>/dev/null || { cat "$output/err" >&2; echo "the run held no cell" >&2; exit 3; }
      sleep 0.1
    done
  fi
  moment="$((RANDOM % 12000))"
  sleep "$((moment / 1000)).$(printf '%03d' $((moment % 1000)))"
  there="$(left_of "$run" | sed "/^cell/d" | cut -d' ' -f1 | sort | uniq -c | tr -s ' \n' ' ')"
  whole=
  if ((i % 2 == 0)); then
    whole=" with its cells"
    kill -KILL "$pid" $(cells_of "$run") 2>/dev/null || true
  else
    kill -KILL "$pid"
  fi
  wait "$pid" 2>/dev/null || true
  pid=
  # Cells whose run was killed notice it, and end what they began.
  for ((wait = 0; wait < 600; wait++)); do
    [ -n "$(cells_of "$run")" ] || break
    sleep 0.1
  done
  removed="$("$conformance" reap --output "$output" "$run" | grep -c "^removed\|^ended" || true)"
  left="$(left_of "$run")"
  printf '%2d: SIGKILL%s after %d ms: there were%s; reap removed %s; left: %s\n' \
    "$i" "$whole" "$moment" "${there:- nothing}" "$removed" "${left:-nothing}"
  seen=$((seen + $(wc -w <<<"${there//[0-9]/}"))) reaped=$((reaped + removed))
  [ -z "$left" ] || bad=$((bad + 1))
done
if ((seen == 0)); then
  echo "no run had begun anything when it was killed: this shows nothing"
  exit 3
fi
echo "$times runs killed, $reaped things reaped; $bad runs left something"
((bad == 0))
