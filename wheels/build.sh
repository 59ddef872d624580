#!/bin/sh
# The self-contained wheel, in dist/: its one extension holds libcurl, OpenSSL, nghttp2, jansson and
# zlib and asks the system for the C library alone. ./dev wheel runs it, with the tools in the PATH.
set -eu
cd "$(dirname "$0")/.."

LIBRARIES=$PWD/build/wheel-libs

fail() {
    echo "wheels/build.sh: $*" >&2
    exit 1
}

# --exclude-libs hides the archives' names; threads may outlive an interpreter, so the code is never
# unmapped. The linker is named here because the Python's own line may hold its machine's paths.
build_wheel() {
    PKG_CONFIG="pkg-config --static" \
        PKG_CONFIG_LIBDIR="$LIBRARIES/root/lib/pkgconfig" \
        LDSHARED="${CC:-cc} -shared" \
        CFLAGS="-O2 -g0 -ffunction-sections -fdata-sections -fstack-protector-strong" \
        LDFLAGS="-Wl,--exclude-libs,ALL -Wl,-Bsymbolic -Wl,--gc-sections -Wl,-z,relro -Wl,-z,now \
            -Wl,-z,nodelete -Wl,-s" \
        python -m pip wheel -q --no-build-isolation --no-deps -w "$place" .
}

# check_extension FILE: what it shows to others and what it wants from them.
check_extension() {
    exported=$(nm -D --defined-only "$1" | sed 's/.* //')
    [ "$exported" = PyInit__core ] || fail "the extension exports $exported"
    needed=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
    for name in $needed; do
        case $name in
        libc.so.* | libm.so.* | libpthread.so.* | libdl.so.* | ld-linux*) ;;
        *) fail "the extension needs $name" ;;
        esac
    done
    ! readelf -d "$1" | grep -E '\((RPATH|RUNPATH)\)' || fail "the extension has a run path"
}

# add_licences DIST-INFO: of what is linked in, and the list of it.
add_licences() {
    mkdir -p "$1/licenses/third-party"
    cp "$LIBRARIES"/licenses/*.txt "$1/licenses/third-party/"
    {
        echo "This wheel holds code of these libraries, built from Debian's source packages:"
        echo
        while read -r package version licence _; do
            echo "$package $version: $licence, see third-party/$package.txt"
        done <"$LIBRARIES/versions"
    } >"$1/licenses/THIRD-PARTY.txt"
    all="MIT$(cut -d ' ' -f 3 "$LIBRARIES/versions" | grep -vx MIT | sort -u |
        sed 's/^/ AND /' | tr -d '\n')"
    files=$(cd "$1/licenses" && printf 'License-File: %s\\n' THIRD-PARTY.txt third-party/*)
    sed -i -e "s/^License-Expression: MIT$/License-Expression: $all/" \
        -e "s|^License-File: LICENSE$|${files}License-File: LICENSE|" "$1/METADATA"
    grep -q "^License-Expression: $all$" "$1/METADATA" || fail "the metadata name no licence"
    grep -q "^License-File: THIRD-PARTY.txt$" "$1/METADATA" || fail "the metadata name no licences"
}

# tag FILE: with the oldest C library that it runs on.
tag() {
    platform=$(auditwheel show "$1" 2>&1 | tr '\n' ' ' |
        sed -n 's/.*following platform tag: *"\(manylinux_[^"]*\)".*/\1/p')
    [ -n "$platform" ] || { auditwheel show "$1" >&2 && fail "no manylinux tag fits $1"; }
    python -m wheel tags --remove --platform-tag "$platform" "$1" >/dev/null
}

sh wheels/libraries.sh "$LIBRARIES"
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
build_wheel
python -m wheel unpack -d "$place/tree" "$place"/*.whl >/dev/null
for tree in "$place"/tree/*; do
    check_extension "$tree"/promptlathe/_core.*so
    add_licences "$tree"/*.dist-info
    mkdir "$place/packed"
    python -m wheel pack -d "$place/packed" "$tree" >/dev/null
done
tag "$place"/packed/*.whl
mkdir -p dist
mv "$place"/packed/*.whl dist/
