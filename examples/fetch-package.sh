#!/bin/sh
# What a node runs: fetches one package by its digest, from whichever proxy answers, and keeps it only when it is whole.
#
#   fetch-package.sh DIGEST OUTPUT [REPOSITORY [PATH]]
#
#   PACKAGES_PROXY_ADDRESSES  host:port, separated by commas    (127.0.0.1:5080)
#   PACKAGES_PROXY_SCHEME     http or https                     (http)
#   PACKAGES_PROXY_TOKEN      bearer token for the sidecar      (none)
#   PACKAGES_PROXY_CA         file of the sidecar's CA          (the system's)
#   PACKAGES_PROXY_ATTEMPTS   rounds over all addresses         (5)
set -eu

if [ $# -lt 2 ]; then
  sed -n '2,11s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
digest=$1 output=$2 repository=${3:-} path=${4:-}
addresses=$(printf '%s' "${PACKAGES_PROXY_ADDRESSES:-127.0.0.1:5080}" | tr ',' ' ')
scheme=${PACKAGES_PROXY_SCHEME:-http}
part=$output.part
headers=$output.headers
trap 'rm -f "$part" "$headers"' EXIT

# The token comes by standard input, so that no list of processes shows it.
authorization() {
  [ -z "${PACKAGES_PROXY_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$PACKAGES_PROXY_TOKEN"
  [ -z "${PACKAGES_PROXY_CA:-}" ] || printf 'cacert = "%s"\n' "$PACKAGES_PROXY_CA"
}

fetch() { # ADDRESS -> prints the status
  authorization | curl --config - --silent --show-error --get \
    --connect-timeout 10 --speed-limit 1 --speed-time 60 \
    --data-urlencode "digest=$digest" --data-urlencode "repository=$repository" --data-urlencode "path=$path" \
    --dump-header "$headers" --output "$part" --write-out '%{http_code}' \
    "$scheme://$1/package"
}

# Repr-Digest holds the package's own sha256 in base64; DIGEST is that of its manifest.
is_whole() {
  expected=$(sed -n 's/^[Rr]epr-[Dd]igest: sha-256=:\(.*\):.*$/\1/p' "$headers")
  [ -n "$expected" ] || return 0
  found=$(openssl dgst -sha256 -binary "$part" | openssl base64 -A)
  [ "$expected" = "$found" ]
}

attempt=1
while [ "$attempt" -le "${PACKAGES_PROXY_ATTEMPTS:-5}" ]; do
  for address in $addresses; do
    if status=$(fetch "$address"); then
      case $status in
        200)
          if is_whole; then
            mv "$part" "$output"
            exit 0
          fi
          echo "$address: package is damaged" >&2
          ;;
        408 | 429 | 5??) echo "$address: $status $(head -c 255 "$part")" >&2 ;;
        *)
          echo "$address: $status $(head -c 255 "$part")" >&2
          exit 1
          ;;
      esac
    fi
  done
  attempt=$((attempt + 1))
  sleep "${PACKAGES_PROXY_PAUSE:-5}"
done
exit 1
