#!/bin/sh
# The self-contained wheel on bare Debian trees that have a Python, pip and the CA certificates, and
# neither libcurl nor jansson; without a network but the loopback interface.
# Run it as root by ./dev full. Arguments: the releases, bookworm and trixie when there are none.
# MIRROR (else the host's own) and, for a second run, CACHE (a directory for downloaded packages) may
# be set.
set -eu
cd "$(dirname "$0")/../.."

# shellcheck source=tests/full/lib/trees.sh
. tests/full/lib/trees.sh

bare_tree() {
    say "$1: debootstrap"
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates \
        ${CACHE:+"--cache-dir=$CACHE"} "$1" "$2" "$MIRROR" >"$2.log" 2>&1 ||
        { tail -n 20 "$2.log" >&2 && fail "debootstrap $1"; }
    cp "$WHEEL" "$2/srv/"
}

# Else the rest would prove nothing.
check_bare() {
    present=$(chroot "$1" ldconfig -p && chroot "$1" dpkg --get-selections)
    printf '%s\n' "$present" | grep -q 'libc\.so' || fail "$1 lists no library at all"
    ! printf '%s\n' "$present" | grep -E 'lib(curl|jansson|nghttp2)' || fail "$1 has a library"
}

# What is tried stands in wheel.py, which runs outside of the tree, beside the servers.
try_tree() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --net --pid --fork --kill-child sh -euc '
        ip link set lo up
        mount -t proc proc "$1/proc"
        printf "127.0.0.1 localhost\n" >"$1/etc/hosts"
        chroot "$1" python3 -m venv /opt/venv
        chroot "$1" sh -c "/opt/venv/bin/pip install -q --no-index /srv/*.whl"
        exec python tests/full/wheel.py "$1"
    ' sh "$1"
}

release() {
    bare_tree "$1" "$WORK/$1"
    check_bare "$WORK/$1"
    say "$1: the wheel"
    try_tree "$WORK/$1"
    rm -rf --one-file-system "${WORK:?}/$1"
}

./dev -y wheel
WHEEL=$(ls dist/promptlathe-*-manylinux*.whl)
WORK=$(mktemp -d "${TMPDIR:-/tmp}/promptlathe-wheel.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
[ $# -gt 0 ] || set -- bookworm trixie
for name; do
    release "$name"
done
say "the wheel on bare trees: $* passed"
