#!/usr/bin/env bash
# Puts the real peers of `npm run test:peers` and `npm run bench` where these look for them; needs Go, apt-get and dpkg,
# but no root.
# Versions are pinned here and in the go.sum of the modules beside this file, for programs that `go install` refuses.
set -euo pipefail
# Where Go's own installer puts it, which not every PATH knows.
PATH=$PATH:/usr/local/go/bin

tools=$(cd "$(dirname "$0")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/registry-packages-proxy/peers/bin
mkdir -p "$bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() { ! [ -x "$bin/$1" ]; }

install_from_debian() { # NAME [PATH IN THE PACKAGE]
  if missing "$1"; then
    (cd "$work" && apt-get download "$1" >/dev/null && dpkg -x "$1"_*.deb .)
    install "$work/${2:-usr/bin/$1}" "$bin/$1"
  fi
}

install_from_go() { # NAME PACKAGE@VERSION
  if missing "$1"; then
    GOBIN=$work go install "$2"
    local package=${2%@*}
    install "$work/${package##*/}" "$bin/$1"
  fi
}

build_module() { # NAME PACKAGE [LDFLAGS]
  if missing "$1"; then
    (cd "$tools/$1" && go build -ldflags "${3:-}" -o "$work/$1" "$2")
    install "$work/$1" "$bin/$1"
  fi
}

install_from_debian docker-registry
install_from_debian nginx usr/sbin/nginx
install_from_debian shellcheck
install_from_go distribution-registry github.com/distribution/distribution/v3/cmd/registry@v3.1.1
install_from_go crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
install_from_go helm helm.sh/helm/v4/cmd/helm@v4.3.1
build_module etcd go.etcd.io/etcd/server/v3
# Built from a module it does not know its own version, which Helm asks it for.
version=$(cd "$tools/kube-apiserver" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
variables=k8s.io/component-base/version
build_module kube-apiserver k8s.io/kubernetes/cmd/kube-apiserver \
  "-X $variables.gitVersion=$version -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
build_module kube-rbac-proxy github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy
ls "$bin"
