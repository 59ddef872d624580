#!/bin/sh
# The suite from one abi3 wheel, which is built once on Python 3.11, on each Python from 3.11 on: this
# machine's own, and those that it lacks from a newer Debian in a tree, whose libraries stay those of
# SUITE. Run it as root by ./dev full. Arguments: the Pythons, 3.11 to 3.14 when there are none. MIRROR
# (else the host's own), CACHE (a directory for downloaded packages) and SUITE (else trixie) may be set.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=/dev/null
. tests/full/lib/trees.sh

SUITE=${SUITE:-trixie}
NEWER=sid
PACKAGES="gcc libc6-dev make pkg-config libcurl4-openssl-dev libjansson-dev zlib1g-dev openssl"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH

# ---- The suite, here and in a tree ----

# requirements PYTHON: the test tools that pyproject.toml names.
requirements() {
    "$1" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["test"], sep="\n")'
}

# suite VERSION PYTHON PLACE: in a new environment, which knows the package by its wheel alone.
suite() {
    "$2" -m venv "$3/venv-$1"
    python=$3/venv-$1/bin/python
    requirements "$python" | "$python" -m pip install -q -r /dev/stdin
    "$python" -m pip install -q --no-deps --no-index "$3"/promptlathe-*.whl
    "$python" - "$3/venv-$1/" <<'END'
import sys
from promptlathe import _core
assert _core.__file__.startswith(sys.argv[1]) and _core.__file__.endswith(".abi3.so"), _core.__file__
END
    say "Python $("$python" -c 'import platform; print(platform.python_version())'): the suite"
    "$python" -m pytest -q -p no:cacheprovider
}

# ---- This machine's Pythons ----

# find_python VERSION: in the PATH, or where pyenv keeps its own.
find_python() {
    for candidate in "python$1" "$HOME/.pyenv/versions/$1".*/bin/"python$1"; do
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

build_wheel() {
    python=$(find_python 3.11) || fail "the wheel is built on Python 3.11, and there is none here"
    say "building the wheel with $python"
    "$python" -m venv "$WORK/build"
    sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml |
        "$WORK/build/bin/python" -m pip install -q -r /dev/stdin
    "$WORK/build/bin/python" -m pip wheel -q --no-build-isolation --no-deps -w "$WORK" "$WORK/project"
    ls "$WORK"/promptlathe-*-cp311-abi3-*.whl
}

# ---- Pythons of a Debian tree ----

make_suite_tree() {
    tree=$WORK/$SUITE
    [ ! -d "$tree" ] || return 0
    make_tree "$SUITE" "$tree"
    cp "$WORK"/promptlathe-*.whl "$tree/srv/"
}

install() {
    apt-get -q -y --no-install-recommends install "$@" >/dev/null
}

# Nothing comes from the newer release but what its Python needs.
in_tree() {
    sed -n "s/^\\(deb [^ ]*\\) .*/\\1 $NEWER main/p" /etc/apt/sources.list |
        head -n 1 >/etc/apt/sources.list.d/newer.list
    printf 'Package: *\nPin: release n=%s\nPin-Priority: 100\n' "$NEWER" >/etc/apt/preferences.d/newer
    apt-get -q update >/dev/null
    # shellcheck disable=SC2086 # a list of names
    install $PACKAGES
    install -t "$NEWER" "python$1-venv"
    cd "$PROJECT"
    suite "$1" "python$1" /srv
}

if [ "${1-}" = --inside ]; then
    in_tree "$2"
    exit
fi

# ---- All of them ----

# run VERSION: here where it is, else in the tree.
run() {
    if python=$(find_python "$1"); then
        (
            cd "$WORK/project"
            suite "$1" "$python" "$WORK"
        )
    else
        make_suite_tree
        inside "$WORK/$SUITE" tests/full/pythons.sh "$1"
    fi
}

WORK=$(mktemp -d "${TMPDIR:-/tmp}/promptlathe-full.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
[ $# -gt 0 ] || set -- 3.11 3.12 3.13 3.14
copy_project "$WORK/project"
build_wheel
for version; do
    run "$version"
done
say "from one wheel, Pythons $* passed"
