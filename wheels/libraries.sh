#!/bin/sh
# The libraries that the self-contained wheel holds, built as archives: libcurl with HTTP and TLS
# alone, OpenSSL, nghttp2, jansson and zlib, from the source packages of a Debian release, which
# apt verifies by the archive's signature.
# libraries.sh DIRECTORY makes DIRECTORY/root (include, lib), DIRECTORY/licenses and
# DIRECTORY/versions; it does nothing twice. MIRROR and SECURITY (else what this system's apt uses)
# and RELEASE may be set.
set -eu

RELEASE=${RELEASE:-trixie}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
JOBS=$(nproc)

say() {
    printf 'libraries: %s\n' "$*" >&2
}

die() {
    say "$@"
    exit 1
}

# ---- Sources ----

# The packages, and of each the licence and the file that holds it.
packages() {
    cat <<'END'
zlib Zlib LICENSE
openssl Apache-2.0 LICENSE.txt
nghttp2 MIT COPYING
jansson MIT LICENSE
curl curl COPYING
END
}

# host_mirror LABEL: what this system's apt takes Debian from.
host_mirror() {
    # shellcheck disable=SC2016 # expanded by apt-get
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' "Label: $1" | sort -u | head -n 1
}

# apt is told of a place of its own, so that the system's lists stay as they are.
configure_apt() {
    mirror=${MIRROR:-$(host_mirror Debian)}
    security=${SECURITY:-$(host_mirror Debian-Security)}
    [ -n "$mirror" ] || die "apt knows no mirror of Debian here: set MIRROR (and SECURITY)"
    [ -e "$KEYRING" ] || die "there is no $KEYRING"
    mkdir -p apt/lists/partial apt/cache/archives/partial sources
    {
        echo "deb-src [signed-by=$KEYRING] $mirror $RELEASE main"
        echo "deb-src [signed-by=$KEYRING] $mirror $RELEASE-updates main"
        [ -z "$security" ] || echo "deb-src [signed-by=$KEYRING] $security $RELEASE-security main"
    } >apt/sources.list
    cat >apt/apt.conf <<END
Dir::Etc::sourcelist "$HERE/apt/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::Lists "$HERE/apt/lists";
Dir::Cache "$HERE/apt/cache";
APT::Sandbox::User "root";
END
    export APT_CONFIG="$HERE/apt/apt.conf"
    apt-get -q update >apt/log 2>&1 ||
        say "apt-get update failed; going on with the lists that are here"
}

# versions_of PACKAGE: those that the archive lists, the newest first.
versions_of() {
    apt-cache showsrc --only-source "$1" | sed -n 's/^Version: //p' | sort -Vru
}

# fetch PACKAGE: the newest version whose files can be had becomes $version.
fetch() {
    for version in $(versions_of "$1"); do
        if (cd sources && apt-get -q -y source --download-only "$1=$version") >>apt/log 2>&1; then
            return
        fi
        say "WARNING: $1 $version is listed, but its files cannot be fetched"
    done
    die "no source package of $1 can be fetched from $RELEASE (see $HERE/apt/log)"
}

fetch_all() {
    packages | while read -r package licence file; do
        fetch "$package"
        echo "$package $version $licence $file"
    done >versions.new
    [ "$(wc -l <versions.new)" -eq "$(packages | wc -l)" ] || exit 1
}

# unpack PACKAGE VERSION: with Debian's changes. That the maintainer's own key is not known here
# does not matter: apt has compared the files with the archive's signed list.
unpack() {
    rm -rf "work/$1"
    dpkg-source -q --no-copy -x "sources/$1_${2#*:}.dsc" "work/$1" 2>"work/$1.log" ||
        { cat "work/$1.log" >&2 && die "cannot unpack $1"; }
}

# ---- Building ----

# cmake_build PACKAGE OPTION...
cmake_build() {
    package=$1
    shift
    cmake -S "$package" -B "$package/build" -DCMAKE_BUILD_TYPE= \
        -DCMAKE_C_FLAGS="$FLAGS -ffile-prefix-map=$HERE/work=." \
        -DCMAKE_INSTALL_PREFIX="$HERE/root" -DCMAKE_INSTALL_LIBDIR=lib \
        -DCMAKE_PREFIX_PATH="$HERE/root" -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
        -DBUILD_SHARED_LIBS=OFF -DBUILD_STATIC_LIBS=ON -DBUILD_TESTING=OFF "$@"
    cmake --build "$package/build" --parallel "$JOBS"
    cmake --install "$package/build"
}

build_zlib() (
    cd zlib
    CFLAGS=$FLAGS ./configure --static --prefix="$HERE/root"
    make -j "$JOBS" libz.a
    make install
)

# TLS 1.2 and 1.3 with what servers of today offer. Nothing is read from a configuration file or
# loaded at run time, and nothing runs at exit, when threads may still use the library.
build_openssl() (
    cd openssl
    # shellcheck disable=SC2086 # a list of flags
    perl Configure --prefix=/usr --libdir=lib --openssldir=/etc/ssl --release \
        no-shared no-apps no-docs no-tests no-module no-dso no-engine no-legacy no-pinshared \
        no-autoload-config no-atexit no-ui-console no-comp no-dtls no-quic no-ssl3 no-tls1 \
        no-tls1_1 no-srp no-srtp no-cms no-cmp no-ts no-ct no-rfc3779 no-gost no-afalgeng no-siv no-scrypt \
        no-thread-pool no-default-thread-pool no-aria no-bf no-blake2 no-camellia no-cast no-dsa \
        no-idea no-md4 no-rc2 no-rc4 no-rmd160 no-seed no-slh-dsa no-sm2 no-sm3 no-sm4 \
        no-whirlpool enable-ec_nistp_64_gcc_128 $FLAGS
    make -j "$JOBS" build_libs
    make install_dev DESTDIR="$PWD/staged"
    cp -R staged/usr/. "$HERE/root/"
    sed -i "s|^prefix=.*|prefix=$HERE/root|" "$HERE/root/lib/pkgconfig/"*.pc
)

build_nghttp2() {
    cmake_build nghttp2 -DENABLE_LIB_ONLY=ON -DENABLE_DOC=OFF
}

build_jansson() {
    cmake_build jansson -DJANSSON_BUILD_SHARED_LIBS=OFF -DJANSSON_BUILD_DOCS=OFF \
        -DJANSSON_EXAMPLES=OFF -DJANSSON_WITHOUT_TESTS=ON
}

# Decoding answers is the core's own work, and so is finding the CA certificates. That netrc is not
# read, the core asks for, so the option has to be there.
build_curl() {
    off=
    for name in ALTSVC AWS BEARER_AUTH COOKIES DIGEST_AUTH DOH FORM_API GETOPTIONS HEADERS_API \
        HSTS IPFS KERBEROS_AUTH LIBCURL_OPTION MIME NEGOTIATE_AUTH NTLM \
        OPENSSL_AUTO_LOAD_CONFIG PROGRESS_METER SRP WEBSOCKETS; do
        off="$off -DCURL_DISABLE_$name=ON"
    done
    # shellcheck disable=SC2086 # a list of options
    cmake_build curl $off -DHTTP_ONLY=ON -DBUILD_CURL_EXE=OFF -DBUILD_LIBCURL_DOCS=OFF \
        -DBUILD_MISC_DOCS=OFF -DBUILD_EXAMPLES=OFF -DENABLE_CURL_MANUAL=OFF -DPICKY_COMPILER=OFF \
        -DENABLE_THREADED_RESOLVER=ON -DENABLE_UNIX_SOCKETS=OFF -DCURL_USE_OPENSSL=ON \
        -DOPENSSL_ROOT_DIR="$HERE/root" -DOPENSSL_USE_STATIC_LIBS=ON -DUSE_NGHTTP2=ON \
        -DCURL_CA_BUNDLE=none -DCURL_CA_PATH=none -DCURL_ZLIB=OFF -DCURL_BROTLI=OFF \
        -DCURL_ZSTD=OFF -DUSE_LIBIDN2=OFF -DCURL_USE_LIBPSL=OFF -DCURL_USE_LIBSSH2=OFF
}

build_all() {
    rm -rf root licenses work
    mkdir -p root licenses work
    FLAGS="-O2 -fPIC -fvisibility=hidden -ffunction-sections -fdata-sections"
    FLAGS="$FLAGS -fstack-protector-strong -D_FORTIFY_SOURCE=2"
    export PKG_CONFIG_LIBDIR="$HERE/root/lib/pkgconfig"
    while read -r package version licence file; do
        say "building $package $version ($licence)"
        unpack "$package" "$version"
        (cd work && "build_$package") >"work/$package.log" 2>&1 ||
            { tail -n 30 "work/$package.log" >&2 && die "$package is not built"; }
        cp "work/$package/$file" "licenses/$package.txt"
        rm -rf "work/$package"
    done <versions.new
}

script=$(cksum <"$0")
mkdir -p "$1"
cd "$1"
HERE=$(pwd)
configure_apt
fetch_all
key="$script $(cksum <versions.new)"
if [ "$(cat stamp 2>/dev/null)" != "$key" ]; then
    rm -f stamp
    build_all
    mv versions.new versions
    echo "$key" >stamp
fi
