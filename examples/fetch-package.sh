#!/bin/sh
# What a node runs: fetches one package by its digest, from whichever proxy answers, and keeps it only when it is whole.
#
#   fetch-package.sh DIGEST OUTPUT [REPOSITORY [PATH]]
#
#   PACKAGES_PROXY_ADDRESSES  host:port, separated by commas, taken in random order  (127.0.0.1:5080)
#   PACKAGES_PROXY_SCHEME     http or https                                          (http)
#   PACKAGES_PROXY_TOKEN      bearer token for the sidecar                           (none)
#   PACKAGES_PROXY_CA         file of the sidecar's CA                               (the system's)
#   PACKAGES_PROXY_ATTEMPTS   rounds over all addresses                              (5)
#   PACKAGES_PROXY_PAUSE      seconds between them                                   (5)
#
# Needs curl, and sha256sum of coreutils or busybox; the rest is POSIX.
set -eu

if [ $# -lt 2 ]; then
  sed -n '2,13s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
digest=$1 output=$2 repository=${3:-} path=${4:-}
scheme=${PACKAGES_PROXY_SCHEME:-http}
part=$output.part # what has come of the package so far
body=$output.body # of one answer
headers=$output.headers
trap 'rm -f "$part" "$body" "$headers"' EXIT
trap 'exit 1' HUP INT TERM
: >"$part"

# In random order, so that nodes that start together do not all come to the same master.
addresses() {
  printf '%s\n' "${PACKAGES_PROXY_ADDRESSES:-127.0.0.1:5080}" | tr ',' '\n' |
    awk -v seed="$(od -A n -N 4 -t u4 /dev/urandom)" 'BEGIN { srand(seed) } NF { print rand() "\t" $1 }' | sort | cut -f 2
}

# The token comes by standard input, so that no list of processes shows it.
secrets() {
  [ -z "${PACKAGES_PROXY_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$PACKAGES_PROXY_TOKEN"
  [ -z "${PACKAGES_PROXY_CA:-}" ] || printf 'cacert = "%s"\n' "$PACKAGES_PROXY_CA"
}

request() { # ADDRESS -> prints the status, 000 when there is no answer
  : >"$body"
  set -- "$scheme://$1/package" --header 'Accept: text/plain'
  # The rest, if it is still the same package.
  [ ! -s "$part" ] || set -- "$@" --header "Range: bytes=$(bytes)-" --header "If-Range: \"$digest\""
  secrets | curl --disable --config - --silent --show-error --globoff --noproxy '*' --get "$@" \
    --connect-timeout 10 --speed-limit 1 --speed-time 60 \
    --data-urlencode "digest=$digest" --data-urlencode "repository=$repository" --data-urlencode "path=$path" \
    --dump-header "$headers" --output "$body" --write-out '%{http_code}'
}

bytes() {
  wc -c <"$part" | tr -d ' '
}

header() { # NAME
  awk -v name="$1:" 'tolower($1) == name { sub(/\r$/, ""); sub(/^[^:]*: */, ""); print }' "$headers" | tail -n 1
}

# Repr-Digest holds the package's own sha256 in base64 (RFC 9530); DIGEST is that of its manifest.
expected_sha256() {
  header repr-digest | sed -n 's/.*sha-256=:\([^:]*\):.*/\1/p' | awk '{
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = 1; (value = index(alphabet, substr($0, i, 1))) > 0 && i <= length($0); i++) {
      rest = rest * 64 + value - 1
      for (bits += 6; bits >= 4; rest -= digit * 2 ^ bits) {
        bits -= 4
        digit = int(rest / 2 ^ bits)
        printf "%x", digit
      }
    }
  }'
}

is_whole() {
  case $1 in
    206) size=$(header content-range | sed 's/.*\///') ;;
    *) size=$(header content-length) ;;
  esac
  [ "$(bytes)" = "$size" ] && [ "$(sha256sum <"$part" | cut -d ' ' -f 1)" = "$(expected_sha256)" ]
}

give_up() { # WHY
  echo "$1" >&2
  exit 1
}

try() { # ADDRESS -> true when the package is whole, false when another try makes sense
  failure=0
  status=$(request "$1") || failure=$?
  case $status in
    200) mv "$body" "$part" ;;
    206) cat "$body" >>"$part" ;;
    000) ;;
    408 | 416 | 429 | 5??) echo "$1: $status $(cut -b 1-255 "$body")" >&2 ;;
    *) give_up "$1: $status $(cut -b 1-255 "$body")" ;;
  esac
  case $failure:$status in
    0:20[06])
      is_whole "$status" && return
      echo "$1: package is damaged" >&2
      : >"$part"
      ;;
    # There are more bytes than the package has.
    0:416) : >"$part" ;;
    # curl could not write, or did not understand: no proxy's fault.
    2:* | 3:* | 23:* | 26:* | 27:*) give_up "$1: curl failed ($failure)" ;;
  esac
  return 1
}

attempt=1
while [ "$attempt" -le "${PACKAGES_PROXY_ATTEMPTS:-5}" ]; do
  [ "$attempt" -eq 1 ] || sleep "${PACKAGES_PROXY_PAUSE:-5}"
  for address in $(addresses); do
    if try "$address"; then
      mv "$part" "$output"
      exit 0
    fi
  done
  attempt=$((attempt + 1))
done
give_up "$digest: no proxy delivered it"
