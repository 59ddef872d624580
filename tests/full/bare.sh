#!/bin/sh
# The two commands and "pip install ." on bare Debian trees, where nothing is installed beforehand.
# Run it as root by ./dev full. Arguments: the releases, bookworm and trixie when there are none.
# MIRROR (else the host's own) and, for a second run, CACHE (a directory for downloaded packages) may
# be set.
set -eu
cd "$(dirname "$0")/../.."

# shellcheck source=tests/full/lib/trees.sh
. tests/full/lib/trees.sh

# ---- Outside ----

release() {
    make_tree "$1" "$WORK/$1"
    cp -a "$WORK/$1" "$WORK/$1-pip"
    say "$1: the two commands"
    inside "$WORK/$1" tests/full/bare.sh commands
    say "$1: pip install"
    inside "$WORK/$1-pip" tests/full/bare.sh pip
    rm -rf --one-file-system "${WORK:?}/$1" "${WORK:?}/$1-pip"
}

# ---- Inside ----

seconds() {
    date +%s
}

# Both commands on a machine that has nothing; then that a second run begins at once.
inside_commands() {
    cd "$PROJECT"
    start=$(seconds)
    ./dev -y demo
    say "first ./dev demo: $(($(seconds) - start)) s"
    start=$(seconds)
    ./dev -y test
    say "first ./dev test: $(($(seconds) - start)) s"
    start=$(seconds)
    ./dev demo >/dev/null 2>second-run
    second=$(($(seconds) - start))
    say "second ./dev demo, to its end: $second s"
    [ "$second" -le 5 ] || fail "a second ./dev demo takes $second s"
    ! grep -E 'installing|building|making' second-run || fail "a second run installs again"
}

# Without a compiler, then without headers, the build's last line names packages; with these
# installed it succeeds.
inside_pip() {
    apt-get -q update >/dev/null
    install python3-venv
    python3 -m venv /opt/venv
    cd /
    pip_fails "C compiler"
    install gcc libc6-dev
    pip_fails "C headers are missing: Python.h, curl/curl.h, jansson.h, zlib.h"
    # shellcheck disable=SC2086 # a list of names
    install $packages
    /opt/venv/bin/pip install -q "$PROJECT"
    /opt/venv/bin/promptlathe demo >/dev/null
    say "pip install succeeds with: $packages"
}

install() {
    apt-get -q -y --no-install-recommends install "$@" >/dev/null
}

# pip_fails REASON: the build's last line holds the reason, and packages, which become $packages.
pip_fails() {
    if /opt/venv/bin/pip install "$PROJECT" >/opt/log 2>&1; then
        fail "pip install succeeded without: $1"
    fi
    last=$(grep -B 1 'end of output' /opt/log | head -n 1)
    say "the build's last line:$last"
    packages=$(printf '%s\n' "$last" | sed -n "s|.*$1.*Debian and Ubuntu: \([^;]*\);.*|\1|p")
    [ -n "$packages" ] || { cat /opt/log && fail "the last line does not say so"; }
}

if [ "${1-}" = --inside ]; then
    "inside_$2"
    exit
fi

WORK=$(mktemp -d "${TMPDIR:-/tmp}/promptlathe-full.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
[ $# -gt 0 ] || set -- bookworm trixie
for name; do
    release "$name"
done
say "bare trees: $* passed"
