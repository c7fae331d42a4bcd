#!/usr/bin/env bash
# Builds the programs the end-to-end tests run but this project did not write, at the versions their go.mod pins.
#
#   build.sh PROGRAM…     PROGRAM: etcd, kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl,
#                                  containerd containerd-shim-runc-v2 ctr, coredns, helm, kube-proxy-answers, cnitool bridge host-local loopback portmap
#
# Prints one line per program on stdout: its path. Progress goes to stderr. A program is built once and kept in a cache
# (CONTIV_CACHE, by default ~/.cache/contiv-vpp/third-party) under a hash of everything that decides what it is: the module's files,
# the flags of the build, Go's version and the platform. Parallel runs wait for each other instead of building twice.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${CONTIV_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/contiv-vpp/third-party}

# What every build has in common.
environment=(CGO_ENABLED=0 GOFLAGS=-mod=readonly GOWORK=off)
flags=(-trimpath -buildvcs=false)

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Sets module, package, version flags and what to tell people about a program.
describe() {
    ldflags='-s -w' tags=
    case $1 in
    kube-apiserver | kube-controller-manager | kube-scheduler | kubelet | kubectl)
        module=kubernetes package=k8s.io/kubernetes/cmd/$1
        local version major minor
        version=$(cd "$here/kubernetes" && GOWORK=off go list -mod=readonly -m -f '{{.Version}}' k8s.io/kubernetes)
        major=${version#v} minor=${version#v*.}
        major=${major%%.*} minor=${minor%%.*}
        # Without these the binary calls itself v0.0.0-master, which kubectl and API clients refuse to compare with.
        local base
        for base in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
            ldflags+=" -X $base.gitVersion=$version -X $base.gitMajor=$major -X $base.gitMinor=$minor -X $base.gitTreeState=clean"
        done
        case $1 in
        kube-apiserver) about='the Kubernetes API server: long, about 6 minutes on 2 cores, only the first time' ;;
        kube-controller-manager) about='the controllers of Kubernetes: about 2 minutes on 2 cores, only the first time' ;;
        kube-scheduler) about='the scheduler of Kubernetes: about half a minute' ;;
        kubelet) about='the node agent of Kubernetes: about 1 minute 30 on 2 cores, only the first time' ;;
        kubectl) about='the Kubernetes command line: about 2 minutes on 2 cores, only the first time' ;;
        esac
        ;;
    containerd | containerd-shim-runc-v2 | ctr)
        module=containerd package=github.com/containerd/containerd/v2/cmd/$1
        # Snapshotters of file systems that no node here has; the first needs C headers besides.
        tags=no_btrfs,no_zfs
        local version
        version=$(cd "$here/containerd" && GOWORK=off go list -mod=readonly -m -f '{{.Version}}' github.com/containerd/containerd/v2)
        # kubelet asks for the runtime's version and needs it to be one.
        ldflags+=" -X github.com/containerd/containerd/v2/version.Version=$version"
        about='the container runtime of the nodes: about 1 minute 30 on 2 cores for its three programs, only the first time'
        ;;
    coredns) module=coredns package=. about="the cluster's name server: about a minute on 2 cores, only the first time" ;;
    etcd) module=etcd package=go.etcd.io/etcd/server/v3 about="the API server's store: about half a minute" ;;
    kube-proxy-answers) module=kube-proxy package=. about="asks kube-proxy's code what Services come to: about a minute on 2 cores, only the first time" ;;
    helm) module=helm package=helm.sh/helm/v4/cmd/helm about='renders and checks the charts: about 2 minutes on 2 cores, only the first time' ;;
    cnitool) module=cni package=github.com/containernetworking/cni/cnitool about='drives CNI plugins as a container runtime would: some seconds' ;;
    bridge) module=cni package=github.com/containernetworking/plugins/plugins/main/bridge about='CNI reference plugin, for comparison in the bench: some seconds' ;;
    host-local) module=cni package=github.com/containernetworking/plugins/plugins/ipam/host-local about='CNI reference plugin, for comparison in the bench: some seconds' ;;
    loopback) module=cni package=github.com/containernetworking/plugins/plugins/main/loopback about='CNI reference plugin, sets up lo in pods: some seconds' ;;
    portmap) module=cni package=github.com/containernetworking/plugins/plugins/meta/portmap about='CNI reference plugin: some seconds' ;;
    *) die "unknown program '$1'; the head of $0 lists them" ;;
    esac
}

# Compiles the described program into $1, saying every 15 seconds that it is still at it.
compile() {
    local out=$1 name=$2 log=$1.log started=$SECONDS pid status=0
    (cd "$here/$module" && exec env "${environment[@]}" \
        go build -v "${flags[@]}" -tags "$tags" -ldflags "$ldflags" -o "$out" "$package") >"$log" 2>&1 &
    pid=$!
    trap 'kill "$pid" 2>/dev/null || true; exit 130' INT TERM
    while kill -0 "$pid" 2>/dev/null; do
        for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
            sleep 1
            kill -0 "$pid" 2>/dev/null || break
        done
        if kill -0 "$pid" 2>/dev/null; then
            say "    $name: $((SECONDS - started)) s, $(grep -c -v ' ' "$log" || true) packages compiled so far"
        fi
    done
    wait "$pid" || status=$?
    trap - INT TERM
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$log" >&2
        die "building $name failed (go build ended with $status; the whole output: $log)"
    fi
    rm -f "$log"
    say "    $name: built in $((SECONDS - started)) s"
}

[ $# -gt 0 ] || die 'usage: build.sh PROGRAM…'
command -v go >/dev/null || die 'Go is not installed (https://go.dev/doc/install, or your distribution); it is needed to build the API server the tests run against'
go_version=$(go version)

for name in "$@"; do
    describe "$name"
    key=$({ find "$here/$module" -type f | sort | xargs cat; echo "$go_version ${environment[*]} ${flags[*]} $tags $ldflags"; } | sha256sum | cut -c1-16)
    dir=$cache/$module-$key
    if [ ! -x "$dir/$name" ]; then
        mkdir -p "$dir"
        exec 9>"$dir/.lock-$name"
        if ! flock -n 9; then
            say "  $name: another run is building it; waiting for that"
            flock 9
        fi
        if [ ! -x "$dir/$name" ]; then
            say "  $name: building ($about)"
            compile "$dir/.$name.$$" "$name"
            mv "$dir/.$name.$$" "$dir/$name"
        fi
        exec 9>&-
    fi
    printf '%s\n' "$dir/$name"
done
