#!/bin/sh
# The suite on a Python without a GIL, and the tests of threads in several threads each. That Python
# is built from Debian's source package of 3.13 (about a quarter of an hour) and kept in
# build/freethreaded; another is found by FREETHREADED. Run it by ./dev full, or alone. MIRROR (else
# the host's own) may be set.
set -eu
cd "$(dirname "$0")/../.."
# shellcheck source=/dev/null
. tests/full/lib/trees.sh

SUITE=trixie
SOURCE=python3.13
PLACE=$(pwd)/build/freethreaded
PYTHON=${FREETHREADED:-$PLACE/usr/bin/python3.13t}
PARALLEL="pytest-run-parallel==0.10.0"
export PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
unset PYTHONPATH PYTHON_GIL

# No build of these, or of what they need, is to be had for a free-threaded 3.13. schemathesis asks the
# simulated service alone, over HTTP, and httptools is a part of promptlathe serve; all else runs.
WITHOUT="schemathesis uvloop httptools"
WITHOUT_TESTS="tests/python/test_schemathesis.py tests/python/serving"

# ---- The interpreter ----

# Sources of their own for apt, which checks Debian's signature and leaves the host's lists alone.
fetch_source() {
    mkdir -p "$PLACE/apt/lists/partial" "$PLACE/apt/cache/archives/partial" "$PLACE/source"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR $SUITE main" \
        >"$PLACE/apt/sources.list"
    cat >"$PLACE/apt/apt.conf" <<END
Dir::Etc::sourcelist "$PLACE/apt/sources.list";
Dir::Etc::sourceparts "-";
Dir::State::lists "$PLACE/apt/lists";
Dir::Cache "$PLACE/apt/cache";
APT::Sandbox::User "root";
END
    (
        export APT_CONFIG="$PLACE/apt/apt.conf"
        cd "$PLACE/source"
        apt-get -q update >"$PLACE/log" 2>&1
        apt-get -q source "$SOURCE" >>"$PLACE/log" 2>&1
    ) || fail_with_log "apt-get source $SOURCE"
}

fail_with_log() {
    tail -n 30 "$PLACE/log" >&2
    fail "$*"
}

# Two of Debian's changes say where its own packages are; they know no free-threaded Python, which then
# does not find what is installed into an environment.
prepare_source() {
    cd "$PLACE"/source/*/
    for change in sysconfig-debian-schemes distutils-install-layout; do
        patch -s -R -p1 <"debian/patches/$change.diff"
    done
}

build_python() {
    say "building $SOURCE of $SUITE without a GIL; the log is $PLACE/log"
    rm -rf "$PLACE"
    fetch_source
    (prepare_source)
    mkdir "$PLACE/objects"
    (
        cd "$PLACE/objects"
        nice -n 10 "$PLACE"/source/*/configure -q --disable-gil --prefix="$PLACE/usr"
        nice -n 10 make -s -j"$(nproc)"
        nice -n 10 make -s install ENSUREPIP=no
    ) >>"$PLACE/log" 2>&1 || fail_with_log "the build of $SOURCE"
    rm -rf "$PLACE/objects" "$PLACE/source" "$PLACE/apt"
}

need() {
    missing=
    for header in openssl/ssl.h ffi.h zlib.h; do
        echo "#include <$header>" | cc -E - >/dev/null 2>&1 || missing="$missing $header"
    done
    for command in dpkg-source patch make openssl; do
        command -v $command >/dev/null || missing="$missing $command"
    done
    [ -z "$missing" ] || fail "missing:$missing. Debian: apt-get install dpkg-dev make openssl" \
        "libssl-dev libffi-dev zlib1g-dev"
}

# ---- The tests ----

# The tools of pyproject.toml that can be had.
requirements() {
    "$PYTHON" - "$WITHOUT" <<'END'
import re, sys, tomllib
with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)
tools = project["project"]["optional-dependencies"]["test"] + project["build-system"]["requires"]
print(*[tool for tool in tools if re.match(r"[\w-]+", tool)[0] not in sys.argv[1].split()], sep="\n")
END
}

install() {
    "$PYTHON" -m venv "$WORK/venv"
    # Of some tools only an older version is built for this Python.
    { requirements && echo "$PARALLEL"; } |
        "$WORK/venv/bin/python" -m pip install -q --only-binary=:all: -r /dev/stdin
    "$WORK/venv/bin/python" -m pip install -q --no-build-isolation --no-deps "$WORK/project"
}

# run PYTEST'S ARGUMENTS: the GIL is off before and after; a module that switches it on warns, and
# warnings are errors.
run() {
    "$WORK/venv/bin/python" - -q -p no:cacheprovider "$@" <<'END'
import sys, pytest
assert not sys._is_gil_enabled()
code = pytest.main(sys.argv[1:])
from promptlathe import _core
assert not sys._is_gil_enabled() and not _core.__file__.endswith(".abi3.so"), _core.__file__
print("promptlathe:", _core.__file__.rpartition("/")[2], "- the GIL is off")
sys.exit(code)
END
}

# parallel THREADS ITERATIONS FILES...: the tests that are fit for it, each in several threads at once.
# Fixtures that hold what one test has caused (records, requests) are not for several threads; tests with
# them, and those marked thread_unsafe, have run above.
parallel() {
    threads=$1
    iterations=$2
    shift 2
    run -rfE --parallel-threads="$threads" --iterations="$iterations" --skip-thread-unsafe=true \
        -o "thread_unsafe_fixtures=$(printf 'caplog\nlogged\nserver\nclient')" "$@"
}

# ---- All of it ----

WORK=$(mktemp -d "${TMPDIR:-/tmp}/promptlathe-full.XXXXXX")
trap 'rm -rf --one-file-system "$WORK"' EXIT
trap 'exit 130' INT TERM
need
[ -x "$PYTHON" ] || build_python
copy_project "$WORK/project"
install
cd "$WORK/project"
say "$("$PYTHON" -VV): the suite without $WITHOUT_TESTS"
# shellcheck disable=SC2086 # a list of files
run $(printf -- '--ignore=%s ' $WITHOUT_TESTS)
say "tests in several threads at once"
parallel 8 20 tests/python/test_binding.py tests/python/test_options.py tests/python/test_vectors.py
# These start up to 64 threads each.
parallel 4 5 tests/python/test_freethreading.py tests/python/test_threads.py
say "free-threaded: passed"
