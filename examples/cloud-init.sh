#!/bin/sh
# Prints user data for cloud-init, with which a new node fetches one package and verifies its digest. The user data contains the
# CA, the token, fetch-package.sh and a systemd unit that runs it. The output contains the token, so keep it secret.
#
#   cloud-init.sh DIGEST OUTPUT [REPOSITORY [PATH]] >user-data
#
#   PACKAGES_PROXY_ADDRESSES  host:port of all masters, separated by commas
#   PACKAGES_PROXY_TOKEN      bearer token for the sidecar
#   PACKAGES_PROXY_CA         file of the sidecar's CA
#
# OUTPUT is a path on the node, outside of /usr, /etc, /boot and home directories. Needs gzip, base64 and grep.
set -eu

if [ $# -lt 2 ] || [ $# -gt 4 ]; then
  sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0" >&2
  exit 2
fi
here=$(dirname "$0")
: "${PACKAGES_PROXY_ADDRESSES:?is not set: host:port of all masters}"
: "${PACKAGES_PROXY_TOKEN:?is not set: a token for port 4219}"
: "${PACKAGES_PROXY_CA:?is not set: the file of the CA}"
for value in "$@" "$PACKAGES_PROXY_ADDRESSES" "$PACKAGES_PROXY_TOKEN"; do
  case $value in
    *[!A-Za-z0-9._/:,@%+=~-]*)
      echo 'an argument, an address or the token contains a character that the environment file of the unit cannot contain' >&2
      exit 2
      ;;
  esac
done
printf '%s\n' "$1" | grep -Eqx 'sha256:[0-9a-f]{64}' || {
  echo "$1: a digest is sha256: and 64 lower-case hex digits" >&2
  exit 2
}
case $2 in
  /*) ;;
  *)
    echo "$2: a path on the node begins with /" >&2
    exit 2
    ;;
esac
[ -r "$PACKAGES_PROXY_CA" ] || { echo "$PACKAGES_PROXY_CA: cannot be read" >&2; exit 1; }

file() { # PATH PERMISSIONS <CONTENT
  printf "  - path: %s\n    owner: root:root\n    permissions: '%s'\n    encoding: gz+b64\n    content: " "$1" "$2"
  gzip -9n | base64 | tr -d '\n'
  echo
}

echo '#cloud-config'
echo 'write_files:'
file /etc/registry-packages-proxy/ca.crt 0644 <"$PACKAGES_PROXY_CA"
file /etc/registry-packages-proxy/node.env 0600 <<END
PACKAGES_PROXY_ADDRESSES=$PACKAGES_PROXY_ADDRESSES
PACKAGES_PROXY_SCHEME=https
PACKAGES_PROXY_TOKEN=$PACKAGES_PROXY_TOKEN
PACKAGES_PROXY_CA=/etc/registry-packages-proxy/ca.crt
PACKAGE_DIGEST=$1
PACKAGE_OUTPUT=$2
PACKAGE_REPOSITORY=${3:-}
PACKAGE_PATH=${4:-}
END
file /usr/local/lib/registry-packages-proxy/fetch-package.sh 0755 <"$here/fetch-package.sh"
file /etc/systemd/system/registry-package.service 0644 <"$here/registry-package.service"
cat <<END
runcmd:
  - [systemctl, daemon-reload]
  - [systemctl, enable, --now, --no-block, registry-package.service]
END
