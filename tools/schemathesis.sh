#!/usr/bin/env bash
# Runs test/schema with Schemathesis, which it installs once, pinned, in a virtual environment of its own; a host without
# Python or its module venv is told so, and nothing is run.
set -euo pipefail

version=4.32.5
environment=${XDG_CACHE_HOME:-$HOME/.cache}/registry-packages-proxy/schemathesis-$version
export SCHEMATHESIS=$environment/bin/schemathesis

if ! [ -x "$SCHEMATHESIS" ]; then
  if ! python3 -c 'import ensurepip, venv'; then
    echo "skipped: Schemathesis needs Python 3 with venv (python3-venv on Debian)"
    exit 0
  fi
  python3 -m venv "$environment"
  "$environment/bin/pip" install --quiet --disable-pip-version-check "schemathesis==$version"
fi
exec node "$(dirname "$0")/../test/schema/main.ts" "$@"
