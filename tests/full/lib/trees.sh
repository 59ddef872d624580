# shellcheck shell=sh
# Debian trees to run things in, for the scripts of tests/full, which read this file from the
# project's directory. MIRROR (else the host's own) and CACHE (a directory for downloaded packages)
# may be set.

# shellcheck disable=SC2016 # expanded by apt-get
MIRROR=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Origin: Debian' |
    sed -n 's/ [a-z]*$//p' | sort -u | head -n 1)}
PROJECT=/srv/promptlathe # in a tree

say() {
    printf '== %s\n' "$*"
}

fail() {
    say "FAILED: $*" >&2
    exit 1
}

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

# copy_project DIRECTORY: the files of the working tree that git knows or would add.
copy_project() {
    mkdir -p "$1"
    git ls-files -z --cached --others --exclude-standard |
        tar --create --null --files-from=- | tar --extract --no-same-owner --directory "$1"
}

# make_tree RELEASE DIRECTORY
make_tree() {
    say "$1: debootstrap"
    debootstrap --variant=minbase ${CACHE:+"--cache-dir=$CACHE"} "$1" "$2" "$MIRROR" >"$2.log" 2>&1 ||
        { tail -n 20 "$2.log" >&2 && fail "debootstrap $1"; }
    carry_network "$2"
    copy_project "$2$PROJECT"
}

# inside TREE SCRIPT ARGUMENTS...: a script of the project in the tree, told by --inside that it is
# there; what is mounted for it ends with it.
inside() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    unshare --mount --pid --fork --kill-child sh -euc '
        tree=$1
        shift
        mount -t proc proc "$tree/proc"
        mkdir -p "$tree/dev/shm" "$tree/dev/pts"
        mount -t tmpfs tmpfs "$tree/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666 devpts "$tree/dev/pts"
        certificates=/etc/host-certificates.pem
        [ -e "$tree$certificates" ] || certificates=
        # shellcheck disable=SC2046
        exec env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
            DEBIAN_FRONTEND=noninteractive ${certificates:+"PIP_CERT=$certificates"} \
            $(cat "$tree/etc/host-environment") chroot "$tree" sh "$@"
    ' sh "$1" "$PROJECT/$2" --inside "$3"
}
