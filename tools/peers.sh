#!/usr/bin/env bash
# Installs the real peers of `npm run test:peers` and `npm run bench`. Needs Go, Rust, apt-get and dpkg, but no root, except
# for the browser. With --long it also installs the peers that take minutes to build. The versions are pinned here, and for
# programs that `go install` refuses in the go.sum of the modules next to this file.
set -euo pipefail
# The folders of the installers of Go and Rust, which may not be in PATH.
PATH=$PATH:/usr/local/go/bin:$HOME/.cargo/bin

tools=$(cd "$(dirname "$0")" && pwd)
bin=${XDG_CACHE_HOME:-$HOME/.cache}/registry-packages-proxy/peers/bin
# The definitions of the custom resources that the chart uses, from their projects.
definitions=${bin%/bin}/definitions
mkdir -p "$bin" "$definitions"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

missing() { ! [ -x "$bin/$1" ]; }

install_from_debian() { # NAME [PATH IN THE PACKAGE [PACKAGE]]
  if missing "$1"; then
    local package=${3:-$1}
    (cd "$work" && apt-get download "$package" >/dev/null && dpkg -x "$package"_*.deb .)
    install "$work/${2:-usr/bin/$1}" "$bin/$1"
  fi
}

# Installs HTTP servers and proxies that tests put before a registry. Each needs its libraries and modules, so the packages are
# unpacked into one folder, without root and without starting a service. Links point into that folder.
install_fronts_from_debian() { # NAME=PATH IN THE PACKAGE=PACKAGE...
  local fronts=${bin%/bin}/fronts wanted=() front name path package
  for front in "$@"; do
    IFS='=' read -r name path package <<<"$front"
    if missing "$name"; then wanted+=("$package"); fi
  done
  if [ ${#wanted[@]} -eq 0 ]; then return; fi
  mkdir -p "$work/fronts" "$fronts"
  (
    cd "$work/fronts"
    mapfile -t needed < <(apt-get install --simulate --no-install-recommends "${wanted[@]}" | awk '/^Inst / { print $2 }')
    apt-get download "${wanted[@]}" "${needed[@]}" >/dev/null
    for package in *.deb; do dpkg -x "$package" "$fronts"; done
  )
  for front in "$@"; do
    IFS='=' read -r name path package <<<"$front"
    ln -sfn "../fronts/$path" "$bin/$name"
  done
}

# Installs Python programs with their modules in one folder. They run with the Python of Debian, for which the modules are built.
install_cloud_init() {
  local folder=${bin%/bin}/cloud-init needed
  if ! missing cloud-init || ! [ -x /usr/bin/python3 ]; then return; fi
  mkdir -p "$work/cloud-init" "$folder"
  (
    cd "$work/cloud-init"
    mapfile -t needed < <(apt-get install --simulate --no-install-recommends cloud-init | awk '/^Inst (cloud-init|python3)/ { print $2 }')
    apt-get download "${needed[@]}" >/dev/null
    for package in *.deb; do dpkg -x "$package" "$folder"; done
  )
  printf '#!/bin/sh\nPYTHONPATH=%q exec /usr/bin/python3 %q "$@"\n' \
    "$folder/usr/lib/python3/dist-packages" "$folder/usr/bin/cloud-init" >"$work/cloud-init.sh"
  install "$work/cloud-init.sh" "$bin/cloud-init"
}

# Installs a program system-wide, because it has too many libraries to unpack.
install_on_system() { # NAME [PACKAGE BESIDES...]
  if command -v "$1" >/dev/null; then return; fi
  if [ "$(id -u)" -eq 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >/dev/null
  else
    echo "$1 is missing: only root can install it, by apt-get install $*" >&2
  fi
}

install_from_go() { # NAME PACKAGE@VERSION
  if missing "$1"; then
    GOBIN=$work go install "$2"
    local package=${2%@*}
    install "$work/${package##*/}" "$bin/$1"
  fi
}

install_from_crates() { # NAME VERSION FEATURES
  if missing "$1"; then
    cargo install "$1@$2" --features "$3" --locked --root "$work" --quiet
    install "$work/bin/$1" "$bin/$1"
  fi
}

build_module() { # NAME PACKAGE [LDFLAGS [MODULE]]
  if missing "$1"; then
    (cd "$tools/${4:-$1}" && go build -ldflags "${3:-}" -o "$work/$1" "$2")
    install "$work/$1" "$bin/$1"
  fi
}

take_from_module() { # NAME MODULE@VERSION FILE
  if ! [ -e "$definitions/$1.yaml" ]; then
    local directory
    directory=$(go mod download -json "$2" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
    install -m 644 "$directory/$3" "$definitions/$1.yaml"
  fi
}

install_from_debian docker-registry
install_from_debian nginx usr/sbin/nginx
# Varnish compiles its configuration.
install_on_system gcc libc6-dev
install_fronts_from_debian apache2=usr/sbin/apache2=apache2-bin caddy=usr/bin/caddy=caddy danted=usr/sbin/danted=dante-server \
  h2o=usr/bin/h2o=h2o haproxy=usr/sbin/haproxy=haproxy hitch=usr/sbin/hitch=hitch \
  lighttpd=usr/sbin/lighttpd=lighttpd-mod-openssl microsocks=usr/bin/microsocks=microsocks \
  nghttpx=usr/sbin/nghttpx=nghttp2-proxy squid=usr/sbin/squid=squid-openssl tinyproxy=usr/bin/tinyproxy=tinyproxy-bin \
  traffic_server=usr/bin/traffic_server=trafficserver varnishd=usr/sbin/varnishd=varnish
install_from_debian shellcheck
install_from_debian containerd
install_from_debian ctr usr/bin/ctr containerd
install_from_debian bwrap usr/bin/bwrap bubblewrap
install_from_debian busybox bin/busybox
install_cloud_init
install_from_debian prometheus
install_from_debian promtool usr/bin/promtool prometheus
install_on_system chromium
install_from_go distribution-registry github.com/distribution/distribution/v3/cmd/registry@v3.1.1
install_from_go actionlint github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
install_from_go versitygw github.com/versity/versitygw/cmd/versitygw@v1.8.0
install_from_crates s3s-fs 0.14.1 binary
# The test suite of the distribution-spec, which has no releases.
install_from_go oci-conformance \
  github.com/opencontainers/distribution-spec/conformance@v0.0.0-20260831232431-97274622c111
install_from_go crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
# Another implementation of the same language, in one file.
install_from_go jq github.com/itchyny/gojq/cmd/gojq@v0.12.17
install_from_go helm helm.sh/helm/v4/cmd/helm@v4.3.1
install_from_go helm-docs github.com/norwoodj/helm-docs/cmd/helm-docs@v1.14.2
take_from_module podmonitors github.com/prometheus-operator/prometheus-operator@v0.85.0 \
  example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml
take_from_module prometheusrules github.com/prometheus-operator/prometheus-operator@v0.85.0 \
  example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml
take_from_module verticalpodautoscalers k8s.io/autoscaler/vertical-pod-autoscaler@v1.5.1 deploy/vpa-v1-crd-gen.yaml
# Newer versions need a newer Go.
for kind in listenersets httproutes backendtlspolicies; do
  take_from_module "$kind" sigs.k8s.io/gateway-api@v1.5.1 "config/crd/standard/gateway.networking.k8s.io_$kind.yaml"
done
build_module etcd go.etcd.io/etcd/server/v3
# A build from a module does not know its version, but Helm asks for it.
version=$(cd "$tools/kubernetes" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
minor=${version#v1.}
variables=k8s.io/component-base/version
built="-X $variables.gitVersion=$version -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*}"
for program in kube-apiserver kube-controller-manager kube-scheduler kubectl; do
  build_module "$program" "k8s.io/kubernetes/cmd/$program" "$built" kubernetes
done
build_module kube-rbac-proxy github.com/brancz/kube-rbac-proxy/cmd/kube-rbac-proxy
build_module parse-query .
build_module ocimem .
build_module rclone .
if [ "${1:-}" = --long ]; then
  # Its templates and texts stay in the module directory.
  module=$(cd "$tools/gitea" && go mod download -json code.gitea.io/gitea | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
  ln -sfn "$module" "${bin%/bin}/gitea"
  GOFLAGS='-tags=sqlite,sqlite_unlock_notify' build_module gitea code.gitea.io/gitea
  build_module seaweedfs github.com/seaweedfs/seaweedfs/weed
  # Both take seven minutes with two processors. Their output is stored in test/support/cosign.
  install_from_go cosign-2 github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5
  install_from_go cosign-3 github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
fi
ls "$bin"
