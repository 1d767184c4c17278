#!/usr/bin/env bash
# Runs test/schema with a pinned version of Schemathesis, which it installs once in a virtual environment. Without Python or
# its module venv it prints a message and runs nothing.
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
