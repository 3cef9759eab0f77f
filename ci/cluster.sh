#!/usr/bin/env bash
# ci/cluster.sh: the platform `kubernetes` in clusters of our own: the matrix, the saboteurs of its checks, and the clusters
# themselves. Kubernetes is built where it is not in the cache (ci/kubernetes.sh). That takes root and apt-get; without them
# it says what it leaves out.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "the platform kubernetes is left out: a cluster of our own takes root and apt-get" >&2
  exit
fi
# Its own output is long, and of interest when it fails.
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
ci/kubernetes.sh >"$log" 2>&1 || { tail -n 50 "$log" >&2; exit 3; }
tail -n 1 "$log"

cargo conformance run --platform kubernetes --cluster scratch

# The saboteurs are no cells: they need a cluster that is there already, and may be broken.
folder="$(mktemp --directory)/cluster"
end() {
  cargo conformance cluster down --folder "$folder"
  rm -rf "$log" "$(dirname "$folder")"
}
trap end EXIT
# In two steps: `eval` would not see that it failed.
exports="$(cargo conformance cluster up --folder "$folder")"
eval "$exports"
cargo conformance test --profile kubernetes -E 'test(/^saboteurs::|^bad_cluster::|^rights::/)'
cargo conformance test --profile cluster
