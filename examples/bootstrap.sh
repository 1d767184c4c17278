#!/bin/sh
# A new node without a token runs this script. It fetches the program rpp-get from the bootstrap port of a master, and keeps
# it only if it runs. Afterwards the node fetches all packages with rpp-get or fetch-package.sh.
#
#   bootstrap.sh DIGEST OUTPUT
#
#   PACKAGES_PROXY_BOOTSTRAP_ADDRESSES     host:port, separated by commas, taken in random order  (127.0.0.1:4282)
#   PACKAGES_PROXY_BOOTSTRAP_CLUSTER_UUID  the UUID of the cluster                                (none)
#   PACKAGES_PROXY_ATTEMPTS                rounds over all addresses                              (30)
#   PACKAGES_PROXY_PAUSE                   seconds between two rounds                             (5)
#
# DIGEST is the digest of the image with rpp-get. Needs POSIX tools and curl. It uses plain HTTP, so the network must be trusted.
set -eu

if [ $# -ne 2 ]; then
  sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
digest=$1 output=$2
uuid=${PACKAGES_PROXY_BOOTSTRAP_CLUSTER_UUID:-}
part=$output.part
trap 'rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM

# Prints the addresses in random order, so that nodes that start together do not all ask the same master.
addresses() {
  printf '%s\n' "${PACKAGES_PROXY_BOOTSTRAP_ADDRESSES:-127.0.0.1:4282}" | tr ',' '\n' |
    awk -v seed="$(od -A n -N 4 -t u4 /dev/urandom)" 'BEGIN { srand(seed) } NF { print rand() "\t" $1 }' | sort | cut -f 2
}

rounds=${PACKAGES_PROXY_ATTEMPTS:-30}
while [ "$rounds" -gt 0 ]; do
  for address in $(addresses); do
    status=$(curl --disable --silent --show-error --globoff --noproxy '*' --connect-timeout 10 --max-time 300 \
      --output "$part" --write-out '%{http_code}' "http://$address${uuid:+/$uuid}/rpp-get?digest=$digest") || status=000
    case $status in
      200)
        chmod +x "$part"
        if "$part" version >/dev/null; then
          mv "$part" "$output"
          exit 0
        fi
        echo "$address: rpp-get does not run" >&2
        ;;
      400 | 404)
        printf '%s: %s, ' "$address" "$status" >&2
        cat "$part" >&2
        ;;
      *) echo "$address: status $status" >&2 ;;
    esac
  done
  rounds=$((rounds - 1))
  [ "$rounds" -eq 0 ] || sleep "${PACKAGES_PROXY_PAUSE:-5}"
done
echo "rpp-get is not available at any address of PACKAGES_PROXY_BOOTSTRAP_ADDRESSES" >&2
exit 1
