#!/bin/sh
# A node runs this script. It fetches one package by its digest from any proxy, and keeps the package only after it has
# verified that the manifest has the digest DIGEST, and that the package has the digest of the last layer in the manifest.
#
#   fetch-package.sh DIGEST OUTPUT [REPOSITORY [PATH]]
#   fetch-package.sh --help
#
#   PACKAGES_PROXY_ADDRESSES  host:port, separated by commas, taken in random order  (127.0.0.1:5080)
#   PACKAGES_PROXY_SCHEME     http or https                                          (http)
#   PACKAGES_PROXY_TOKEN      bearer token for the sidecar                           (none)
#   PACKAGES_PROXY_CA         file of the sidecar's CA                               (the system's)
#   PACKAGES_PROXY_ATTEMPTS   rounds over all addresses                              (5)
#   PACKAGES_PROXY_PAUSE      seconds between two rounds; a Retry-After can be longer (5)
#   PACKAGES_PROXY_PLATFORM   os/architecture of the image to take from an index     (linux/amd64)
#   PACKAGES_PROXY_REDIRECT   follow: requests a redirect for packages and follows it (refuse)
#
# The bytes of an incomplete package stay in a file next to OUTPUT with the suffix .part, and the next run continues it. On a
# terminal a bar shows the progress. Each failure is one line on standard error. The exit code is 0 for success, 1 for a
# failure, 2 for a mistake in the arguments.
#
# Needs POSIX tools, curl or wget, and sha256sum or openssl. The wget of busybox does not verify certificates and shows headers
# in the list of processes, so it is used only for http without a token. It cannot resume a download.
set -eu

usage() {
  sed -n '2,/^set -eu/s/^# \{0,1\}//p' "$0"
}

case ${1:-} in
  -h | --help)
    usage
    exit 0
    ;;
esac
if [ $# -lt 2 ] || [ $# -gt 4 ]; then
  usage >&2
  exit 2
fi
case $1 in
  sha256:*) ;;
  *)
    echo "$1: a digest begins with sha256:" >&2
    exit 2
    ;;
esac
digest=$1 output=$2 repository=${3:-} path=${4:-}
scheme=${PACKAGES_PROXY_SCHEME:-http}
platform=${PACKAGES_PROXY_PLATFORM:-linux/amd64}
# The bytes of an incomplete package. The name contains the digest, so that another package with the same OUTPUT has another file.
part=$output.$(printf %s "${digest#sha256:}" | cut -c 1-12).part
body=$output.body # the body of an answer with a manifest
head=$output.head # the headers of that answer
errors=$output.errors # the messages of curl
config=$output.wgetrc # the configuration of wget, with the token
names=$output.names # all strings of a manifest, each with its path in the document
redirect=${PACKAGES_PROXY_REDIRECT:-refuse}
patience='' # the seconds of a Retry-After
layers='' # the digests that the package may have, without sha256: (more than one only for an index of several images)
limit='' # the highest size of an answer in bytes
start='' # the first requested byte, if it is not 0
bar='' # not empty if the next request shows a progress bar
trap 'salvage; rm -f "$output.body" "$output.head" "$errors" "$config" "$names"; [ -s "$part" ] || rm -f "$part"' EXIT
trap 'exit 1' HUP INT TERM

give_up() { # WHY
  echo "$1" >&2
  exit 1
}

# Adds the bytes of an incomplete answer to the .part file: the answer has the rest of the package, or the whole package.
salvage() {
  if [ -s "$part.body" ]; then
    case $(answered "$part.head") in
      200) mv "$part.body" "$part" ;;
      206) cat "$part.body" >>"$part" ;;
    esac
  fi
  rm -f "$part.body" "$part.head"
}

answered() { # HEAD -> the status of the last answer in this file; 000 if there is none
  [ -e "$1" ] || { printf 000; return; }
  awk '$1 ~ /^HTTP\// { status = $2 } END { printf "%s", status == "" ? "000" : status }' "$1"
}

if command -v curl >/dev/null; then
  client=curl
elif ! command -v wget >/dev/null; then
  give_up 'neither curl nor wget is installed'
elif wget --version 2>/dev/null | grep -q '^GNU Wget'; then
  client=wget
  # If the locale is not UTF-8, wget would repeat a failed request with the URL in another encoding.
  iri=$(wget --version | sed -n 's/.*+iri.*/--no-iri/p')
elif [ "$scheme" = http ] && [ -z "${PACKAGES_PROXY_TOKEN:-}" ]; then
  client=busybox
else
  give_up 'this wget verifies no certificate and shows tokens in the list of processes: install curl or GNU wget'
fi
[ "$redirect" != follow ] || [ "$client" = curl ] || give_up 'PACKAGES_PROXY_REDIRECT=follow needs curl'
salvage
[ -e "$part" ] || : >"$part"

# Prints the addresses in random order, so that nodes that start together do not all ask the same master.
addresses() {
  printf '%s\n' "${PACKAGES_PROXY_ADDRESSES:-127.0.0.1:5080}" | tr ',' '\n' |
    awk -v seed="$(od -A n -N 4 -t u4 /dev/urandom)" 'BEGIN { srand(seed) } { for (i = 1; i <= NF; i++) print rand() "\t" $i }' | sort | cut -f 2
}

# curl reads the token from standard input, so the list of processes does not show it.
secrets() {
  [ -z "${PACKAGES_PROXY_TOKEN:-}" ] || printf 'header = "Authorization: Bearer %s"\n' "$PACKAGES_PROXY_TOKEN"
  [ -z "${PACKAGES_PROXY_CA:-}" ] || printf 'cacert = "%s"\n' "$PACKAGES_PROXY_CA"
}

encode() { # TEXT -> each byte as %xx
  printf %s "$1" | od -A n -v -t x1 | tr -d ' \n' | sed 's/../%&/g'
}

request() { # ADDRESS ENDPOINT DIGEST [--header FIELD]... -> prints the status; 000 if there is no answer
  url="$scheme://$1/$2?digest=$(encode "$3")&repository=$(encode "$repository")&path=$(encode "$path")"
  shift 3
  : >"$body"
  : >"$head"
  : >"$errors"
  set -- "$url" "$@" --header 'Accept: text/plain'
  case $client in
    curl) by_curl "$@" ;;
    wget) by_wget "$@" ;;
    busybox) by_busybox "$@" ;;
  esac
}

by_curl() { # URL [--header FIELD]...
  set -- --disable --config - --globoff --noproxy '*' --connect-timeout 10 --speed-limit 1 --speed-time 60 \
    ${limit:+--max-filesize "$limit"} ${start:+--header "Range: bytes=$start-"} --dump-header "$head" --output "$body" --write-out '%{http_code}' "$@"
  if [ -n "$bar" ]; then
    secrets | curl --progress-bar "$@"
  else
    secrets | curl --silent --show-error "$@" 2>"$errors"
  fi
}

by_wget() { # URL [--header FIELD]...
  failed=0
  (umask 077 && : >"$config" && secrets | sed 's/^cacert = "\(.*\)"$/ca_certificate = \1/; s/^header = "\(.*\)"$/header = \1/' >"$config")
  (
    [ -z "$limit" ] || ulimit -f $((limit / 512))
    exec wget --config="$config" --server-response --content-on-error --max-redirect=0 --tries=1 --no-proxy --no-hsts ${iri:+"$iri"} \
      --connect-timeout=10 --read-timeout=60 ${start:+--start-pos="$start"} ${bar:+--show-progress --progress=bar} \
      --output-file="$head" --output-document="$body" "$@"
  ) || failed=$?
  tail -n 1 "$head" >"$errors"
  # wget skips the bytes before the start also if the answer is the whole package.
  [ -z "$start" ] || [ "$(answered "$head")" != 200 ] || echo 'HTTP/1.1 206 from --start-pos on' >>"$head"
  answered "$head"
  # 8: the server answered with an error status.
  [ "$failed" -eq 8 ] || return "$failed"
}

by_busybox() { # URL [--header FIELD]...
  failed=0 seconds=''
  # The busybox of Debian has only a time limit for the connection.
  ! wget --help 2>&1 | grep -q -e '-T SEC' || seconds=60
  (
    [ -z "$limit" ] || ulimit -f $((limit / 512))
    exec wget -S -Y off ${seconds:+-T "$seconds"} -O "$body" "$@"
  ) 2>"$head" || failed=$?
  tail -n 1 "$head" >"$errors"
  answered "$head"
  return "$failed"
}

field() { # NAME -> the value of a header field of the last answer
  tr -d '\r' <"$head" | awk -v name="$1:" 'tolower($1) == name { sub(/^[^:]*:[ \t]*/, ""); print; exit }'
}

# Follows the redirect of a proxy to another server, which gets neither the token nor the query of the request.
follow() { # -> prints the status
  target=$(field location)
  : >"$body"
  : >"$head"
  case $target in
    http://* | https://*) ;;
    *) printf 000; return ;;
  esac
  printf 'url = "%s"\n' "$(printf '%s' "$target" | tr -d '"\\\n')" | curl --disable --config - --silent --show-error --globoff \
    --proto '=http,https' --connect-timeout 10 --speed-limit 1 --speed-time 60 \
    --dump-header "$head" --output "$body" --write-out '%{http_code}' 2>"$errors"
}

bytes() {
  wc -c <"$part" | tr -d ' '
}

sha256() { # FILE
  if command -v sha256sum >/dev/null; then
    sha256sum <"$1"
  else
    openssl dgst -sha256 -r <"$1"
  fi | cut -c 1-64
}

# Prints each string of a JSON document after its path, such as "layers 0 digest sha256:…". The text between two quotes is
# either a string, which continues if a backslash precedes the quote, or brackets, colons and commas.
strings() {
  awk 'BEGIN { RS = "\"" }
    inside {
      text = text $0
      match($0, /\\*$/)
      if (RLENGTH % 2) { text = text "\""; next }
      inside = 0
      if (list[depth] || named[depth]) {
        place = ""
        for (i = 1; i <= depth; i++) place = place (list[i] ? count[i] : name[i]) "\t"
        gsub(/[\t\n]/, " ", text)
        print place text
      } else name[depth] = text
      next
    }
    {
      rest = $0
      while (match(rest, /[][{}:,]/)) {
        token = substr(rest, RSTART, 1)
        rest = substr(rest, RSTART + 1)
        if (token == "{" || token == "[") { list[++depth] = token == "["; count[depth] = 0; named[depth] = 0 }
        else if (token == "}" || token == "]") depth--
        else if (token == ":") named[depth] = 1
        else { named[depth] = 0; count[depth]++ }
      }
      inside = 1
      text = ""
    }'
}

# Prints the digest of the last layer; nothing if the document is not a manifest, or is also an index.
last_layer() {
  awk -F '\t' '$1 == "manifests" { other = 1 }
    $1 == "layers" && NF > 3 {
      if ($2 + 0 > last) { last = $2 + 0; digest = "" }
      if ($3 == "digest" && NF == 4) digest = $4
    }
    END { if (!other) print digest }' "$names"
}

# Prints the digests of an index that are for the platform or for no stated platform, without attestations.
manifests() {
  awk -F '\t' -v platform="$platform" '$1 == "layers" { other = 1 }
    $1 == "manifests" && NF > 3 {
      if ($3 == "digest" && NF == 4 ) digest[$2] = $4
      if ($3 == "mediaType") type[$2] = $4
      if ($3 == "platform") field[$2, $4] = $5
      if ($3 == "annotations" && $4 == "vnd.docker.reference.type") attests[$2] = 1
      if ($2 + 0 > last) last = $2 + 0
    }
    END {
      split(platform, wanted, "/")
      for (i = 0; i <= last && !other; i++) {
        os = field[i, "os"]; architecture = field[i, "architecture"]; variant = field[i, "variant"]
        fits = os == wanted[1] && architecture == wanted[2] && (variant == "" || wanted[3] == "" || variant == wanted[3])
        if (!attests[i] && digest[i] ~ /^sha256:/ && (type[i] == "" || type[i] ~ /manifest|index/) && (fits || os == "")) print digest[i]
      }
    }' "$names"
}

# Adds the last layer of an image, or of each matching image of an index, to `layers`. Indexes can be nested.
find_layers() { # ADDRESS DIGEST DEPTH -> false if another attempt can succeed
  failure=0
  limit=4194304 body=$output.body head=$output.head
  status=$(request "$1" manifest "$2") || failure=$?
  limit=''
  # An index can list images that the registry does not have.
  [ "$3" -eq 0 ] || [ "$status" != 404 ] || return 0
  judge "$1" || return 1
  if [ "sha256:$(sha256 "$body")" != "$2" ]; then
    echo "$1: manifest is damaged or forged" >&2
    return 1
  fi
  strings <"$body" >"$names"
  layer=$(last_layer)
  if [ -n "$layer" ]; then
    layers="$layers ${layer#sha256:}"
  elif [ "$3" -lt 4 ]; then
    for manifest in $(manifests | head -n 16); do
      find_layers "$1" "$manifest" $(($3 + 1)) || return 1
    done
  fi
}

is_expected() { # SHA256
  for layer in $layers; do
    [ "$layer" != "$1" ] || return 0
  done
  return 1
}

# Evaluates `status` and `failure` of a request: true if the answer is complete, false if another attempt can succeed.
judge() { # ADDRESS
  case $status in
    000 | 200 | 206)
      [ "$failure" -eq 0 ] || echo "$1: $client failed ($failure) $(tr -d '\r' <"$errors" | tail -n 1)" >&2
      ;;
    # 401: a sidecar that cannot reach its API server accepts no token; another master may accept it.
    401 | 408 | 416 | 429 | 5??)
      echo "$1: $status $(cut -b 1-255 "$body" | head -n 1)" >&2
      seconds=$(field retry-after)
      case $seconds in
        '' | *[!0-9]* | ?????*) ;;
        *) if [ -z "$patience" ] || [ "$seconds" -lt "$patience" ]; then patience=$seconds; fi ;;
      esac
      ;;
    30?) give_up "$1: $status $(cut -b 1-255 "$body") (a redirect that this script did not ask for is not followed)" ;;
    *) give_up "$1: $status $(cut -b 1-255 "$body")" ;;
  esac
  case $client:$failure in
    # The client could not write a file or did not accept its arguments, so another proxy would not help.
    curl:2 | curl:3 | curl:23 | curl:26 | curl:27 | wget:2 | wget:3) exit 1 ;;
  esac
  case $failure:$status in
    0:20[06]) ;;
    *) return 1 ;;
  esac
}

try() { # ADDRESS -> true if the package is complete and verified, false if another attempt can succeed
  if [ -z "$layers" ]; then
    find_layers "$1" "$digest" 0 || { layers=''; return 1; }
    [ -n "$layers" ] || give_up "$digest: no image for $platform"
  fi
  failure=0 master=$1 body=$part.body head=$part.head
  [ ! -t 2 ] || bar=shown
  set --
  # Requests the rest of the package; If-Range makes sure that it is the same package. The wget of busybox cannot request a part.
  if [ "$client" = busybox ]; then
    : >"$part"
  elif [ -s "$part" ]; then
    start=$(bytes)
    set -- --header "If-Range: \"$digest\""
  fi
  if [ "$redirect" = follow ]; then
    status=$(request "$master" package "$digest" "$@" --header 'Prefer: redirect') || failure=$?
    if [ "$status" = 307 ]; then
      # The target does not know the digest. Its answer is verified below.
      : >"$part"
      status=$(follow) || failure=$?
      case $failure:$status in
        0:200) ;;
        *)
          echo "$master: the server to which it redirects answered $status; asking without a redirect" >&2
          redirect=refuse
          return 1
          ;;
      esac
    fi
  else
    status=$(request "$master" package "$digest" "$@") || failure=$?
  fi
  bar='' start=''
  result=0
  judge "$master" || result=$?
  salvage
  if [ "$status" = 416 ]; then
    # The .part file was complete already, or has more bytes than the package.
    is_expected "$(sha256 "$part")" && return
    : >"$part"
  fi
  [ "$result" -eq 0 ] || return 1
  is_expected "$(sha256 "$part")" && return
  echo "$master: package is damaged or forged" >&2
  : >"$part"
  return 1
}

attempt=1
while [ "$attempt" -le "${PACKAGES_PROXY_ATTEMPTS:-5}" ]; do
  if [ "$attempt" -gt 1 ]; then
    pause=${PACKAGES_PROXY_PAUSE:-5}
    # The shortest Retry-After of all proxies, at most a minute. Proxies send different values, so that nodes return at different times.
    [ "${patience:-0}" -le "$pause" ] || pause=$patience
    [ "$pause" -le 60 ] || pause=60
    sleep "$pause"
    patience=''
  fi
  for address in $(addresses); do
    if try "$address"; then
      mv "$part" "$output"
      # Removes .part files of other packages with the same OUTPUT.
      rm -f "$output".????????????.part
      exit 0
    fi
  done
  attempt=$((attempt + 1))
done
give_up "$digest: no proxy delivered it"
