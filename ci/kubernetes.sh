#!/bin/bash
# Makes this machine ready for `cargo conformance cluster up`: installs what a cluster takes from the machine, and where no
# other binaries are given (KUBEBUILDER_ASSETS, --kubernetes-binaries) builds Kubernetes 1.20.2 once, into a cache outside
# the checkout. Needs root on Debian 12, about eight minutes of two processors, and 4 GB of disk while it builds.
#
# The source is Debian's package `kubernetes`: upstream's with all its dependencies, though Debian itself builds only
# kubectl of it. Nothing else is downloaded.
set -euo pipefail

version=1.20.2
commit=faecb196815e248d3ecfb03c680a4507229c2a56 # of upstream's tag v1.20.2: --version says it
programs=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
machine=(etcd-server containerd runc containernetworking-plugins iptables iproute2 util-linux mount)
builder=(golang-1.19-go golang-github-modern-go-reflect2-dev dpkg-dev gcc libc6-dev make rsync jq)
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
cache=${XDG_CACHE_HOME:-$HOME/.cache}/secrets-conformance
done=$cache/kubernetes-$version

fail() {
    echo "ci/kubernetes.sh: $1" >&2
    echo "  remedy: $2" >&2
    exit 2
}

install() {
    dpkg --status "$@" >/dev/null 2>&1 && return
    apt-get update --quiet
    apt-get install --quiet --yes --no-install-recommends "$@"
}

# The address from which this machine gets Debian 12: a mirror, if it has one.
mirror() {
    apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
        awk '$1 == "bookworm" && !found { print $2; found = 1 }'
}

fetch() {
    local mirror
    mirror=$(mirror)
    [ -n "$mirror" ] || fail "no package source of this machine has Debian 12 (bookworm)" \
        "run it on Debian 12, or give upstream's server binaries: KUBEBUILDER_ASSETS=FOLDER"
    # A list of its own: the machine's sources stay as they are.
    mkdir -p lists/partial
    echo "deb-src [signed-by=$keyring] $mirror bookworm main" >sources.list
    local own=(-oDir::Etc::SourceList="$PWD/sources.list" -oDir::Etc::SourceParts=/dev/null -oDir::State::Lists="$PWD/lists")
    apt-get "${own[@]}" update --quiet
    # apt checks the archive's signature and the hash of every file.
    apt-get "${own[@]}" source --quiet --download-only kubernetes
    dpkg-source --extract ./kubernetes_*.dsc source
}

build() {
    cd source
    # The vendored reflect2 1.0.1 crashes the API server when it is built by Go 1.18 or later; Debian's 1.0.2 does not.
    local reflect=vendor/github.com/modern-go/reflect2
    rm -r "$reflect"
    cp --recursive /usr/share/gocode/src/github.com/modern-go/reflect2 "$reflect"
    # Without a repository the build cannot know its version.
    printf '%s\n' "KUBE_GIT_COMMIT=$commit" KUBE_GIT_TREE_STATE=archive "KUBE_GIT_VERSION=v$version" \
        KUBE_GIT_MAJOR=1 KUBE_GIT_MINOR=20 >../version
    export KUBE_GIT_VERSION_FILE=$PWD/../version
    export GOROOT=/usr/lib/go-1.19 PATH=/usr/lib/go-1.19/bin:$PATH GOCACHE=$PWD/../gocache GOTMPDIR=$PWD/../tmp
    # Everything is in the source: a download would be a mistake.
    export GOPROXY=off GOSUMDB=off CGO_ENABLED=0
    mkdir -p ../tmp
    make generated_files
    # Without the clients of cloud providers, and without Docker as a runtime, for which the kubelet would look five seconds
    # long: both are upstream's own build tags, and a quarter of the work.
    make WHAT="${programs[*]/#/cmd/}" GOFLAGS=-tags=providerless,dockerless GOLDFLAGS="-s -w"
    cd ..
}

[ "$(id -u)" = 0 ] || fail "it installs packages, and this user may not" "run it as root: sudo -E ci/kubernetes.sh"
command -v apt-get >/dev/null || fail "there is no apt-get" \
    "install ${machine[*]} by other means, and give upstream's server binaries: KUBEBUILDER_ASSETS=FOLDER"
install "${machine[@]}"
if [ -n "${KUBEBUILDER_ASSETS:-}" ]; then
    echo "KUBEBUILDER_ASSETS is set: nothing to build"
    exit
fi
mkdir -p "$cache"
exec 9>"$done.lock"
flock 9
if [ -x "$done/kubectl" ]; then
    echo "built already: $done"
    exit
fi
install "${builder[@]}"
work=$(mktemp --directory "$cache/kubernetes-build.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
fetch
build
"source/_output/bin/kube-apiserver" --version | grep --fixed-strings --line-regexp "Kubernetes v$version"
mkdir bin
for program in "${programs[@]}"; do
    mv "source/_output/bin/$program" bin/
done
# All at once: a folder that is there is complete.
rm -rf "$done"
mv bin "$done"
echo "built: $done"
