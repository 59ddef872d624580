#!/bin/sh
# The two commands and "pip install ." on bare Debian trees, where nothing is installed beforehand.
# Run it as root by ./dev full. Arguments: the releases, bookworm and trixie when there are none.
# MIRROR (else the host's own) and, for a second run, CACHE (a directory for downloaded packages) may
# be set.
set -eu
cd "$(dirname "$0")/../.."

# shellcheck disable=SC2016 # expanded by apt-get
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Origin: Debian' |
    sed -n 's/ [a-z]*$//p' | sort -u | head -n 1)}
PROJECT=/srv/promptlathe # in the chroot

say() {
    printf '== %s\n' "$*"
}

fail() {
    say "FAILED: $*" >&2
    exit 1
}

# ---- Outside: making a tree ----

# What the host needs to reach mirrors and package indexes: resolver, proxies, certificates.
carry_network() {
    cp -L /etc/resolv.conf "$1/etc/resolv.conf"
    [ -e "$1/etc/hosts" ] || printf '127.0.0.1 localhost\n::1 localhost\n' >"$1/etc/hosts"
    apt-config dump | grep -E '^Acquire::(https?|ftp|Check-[A-Za-z-]+|Retries)\b' \
        >"$1/etc/apt/apt.conf.d/90host" || true
    if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
        cp -L /etc/ssl/certs/ca-certificates.crt "$1/etc/host-certificates.pem"
    fi
    env | grep -iE '^(https?_proxy|no_proxy|all_proxy|PIP_(EXTRA_)?INDEX_URL|PIP_TRUSTED_HOST)=' \
        >"$1/etc/host-environment" || true
}

# The files of the working tree that git knows or would add.
copy_project() {
    mkdir -p "$1$PROJECT"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$1$PROJECT"
}

make_tree() {
    say "$1: debootstrap"
    debootstrap --variant=minbase ${CACHE:+"--cache-dir=$CACHE"} "$1" "$2" "$MIRROR" >"$2.log" 2>&1 ||
        { tail -n 20 "$2.log" >&2 && fail "debootstrap $1"; }
    carry_network "$2"
    copy_project "$2"
}

# inside TREE STEP: a step of this script in the chroot, with mounts that end with it.
inside() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork --kill-child sh -euc '
        mount -t proc proc "$1/proc"
        mkdir -p "$1/dev/shm" "$1/dev/pts"
        mount -t tmpfs tmpfs "$1/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
        certificates=/etc/host-certificates.pem
        [ -e "$1$certificates" ] || certificates=
        # shellcheck disable=SC2046
        exec env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            DEBIAN_FRONTEND=noninteractive ${certificates:+"PIP_CERT=$certificates"} \
            $(cat "$1/etc/host-environment") chroot "$1" sh "$2/tests/full/bare.sh" --inside "$3"
    ' sh "$1" "$PROJECT" "$2"
}

release() {
    make_tree "$1" "$WORK/$1"
    cp -a "$WORK/$1" "$WORK/$1-pip"
    say "$1: the two commands"
    inside "$WORK/$1" commands
    say "$1: pip install"
    inside "$WORK/$1-pip" pip
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
