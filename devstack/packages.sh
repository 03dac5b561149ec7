#!/usr/bin/env bash
# Installs the Debian packages of packages.txt when root; otherwise says exactly what is missing.
#   packages.sh [PART…]             install or tell; always succeeds
#   packages.sh --require [PART…]   fails when something is missing afterwards
set -euo pipefail
list="$(dirname "$0")/packages.txt"
require=no
[ "${1:-}" = --require ] && { require=yes; shift; }
parts="${*:-build lab units web past pg cloud}"

missing() {
  local name part _
  while read -r name part _; do
    case "$name" in "#"* | "") continue ;; esac
    case " $parts " in *" $part "*) ;; *) continue ;; esac
    # no pipe into grep -q: it stops reading at the first match, and pipefail would then call the package missing
    case "$(dpkg-query -W -f '${Status}' "$name" 2>/dev/null || true)" in *"ok installed"*) ;; *) echo "$name" ;; esac
  done <"$list"
}

if ! command -v dpkg-query >/dev/null; then
  echo "packages: not a Debian system; what is needed stands in devstack/packages.txt"
  exit 0
fi
need=$(missing | xargs)
[ -z "$need" ] && exit 0
# Debian starts what it installs. The beds run servers of their own, so nothing is started while this runs.
policy=${POLICY_RC_D:-/usr/sbin/policy-rc.d}
start_nothing() {
  [ -e "$policy" ] && return
  printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
}

install() {
  export DEBIAN_FRONTEND=noninteractive
  apt-get -qq update &&
    apt-get -qq -y --no-install-recommends -o DPkg::Lock::Timeout=600 install "$@" >/dev/null
}

if [ "$(id -u)" = 0 ]; then
  echo "packages: installing $need"
  start_nothing
  # shellcheck disable=SC2086  # a list of names
  install $need || echo "packages: apt-get failed, see above"
  need=$(missing | xargs)
  [ -z "$need" ] && exit 0
fi
echo "packages: missing: $need"
echo "packages: install them as root: apt-get install -y --no-install-recommends $need"
[ "$require" = no ]
