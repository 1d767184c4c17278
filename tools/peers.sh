#!/usr/bin/env bash
# Puts the real registries of `npm run test:peers` where the tests look for them; needs no root.
# docker-registry comes out of Debian's package, the other two are built by Go.
set -euo pipefail

bin=${XDG_CACHE_HOME:-$HOME/.cache}/registry-packages-proxy/peers/bin
mkdir -p "$bin"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if ! [ -x "$bin/docker-registry" ]; then
  (cd "$work" && apt-get download docker-registry >/dev/null && dpkg -x docker-registry_*.deb .)
  install "$work/usr/bin/docker-registry" "$bin/docker-registry"
fi
if ! [ -x "$bin/distribution-registry" ]; then
  GOBIN=$work go install github.com/distribution/distribution/v3/cmd/registry@v3.1.1
  install "$work/registry" "$bin/distribution-registry"
fi
if ! [ -x "$bin/crane" ]; then
  GOBIN=$work go install github.com/google/go-containerregistry/cmd/crane@v0.22.1
  install "$work/crane" "$bin/crane"
fi
ls "$bin"
