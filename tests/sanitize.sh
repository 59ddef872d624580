#!/bin/sh
# The tests in builds that watch memory, threads and references; ./dev sanitize runs it with the
# tools in the PATH. Arguments: which kinds, all of them when there are none.
set -eu
cd "$(dirname "$0")/.."
export UBSAN_OPTIONS=print_stacktrace=1
export PYTHONDONTWRITEBYTECODE=1

say() {
    printf -- '-- %s\n' "$*"
}

# package KIND PYTHON FLAGS: the package in build/KIND/lib, with an extension of its own.
package() {
    say "building the extension ($1)"
    rm -rf "build/$1/lib"
    CC=gcc CFLAGS="-O1 $3" LDFLAGS="$3" "$2" setup.py -q build --force \
        --build-base "build/$1" --build-lib "build/$1/lib"
}

c() {
    say "C tests under AddressSanitizer (with leaks) and UndefinedBehaviorSanitizer"
    make -s -C csrc check CC=gcc SAN=address,undefined OPTIMIZE=-O1
    say "the engine where there is no epoll"
    for test in poller engine loop map model curl_memory descriptors; do
        make -s -C csrc check VARIANT=poll CPPFLAGS=-DLATHE_POLL ONLY=$test
    done
    say "C tests under ThreadSanitizer"
    # It wants addresses where it expects them, which a new kernel's randomization upsets.
    make -s -C csrc check CC=gcc SAN=thread OPTIMIZE=-O1 WRAP="setarch -R"
}

python_asan() {
    package asan python "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    say "pytest under AddressSanitizer and UndefinedBehaviorSanitizer"
    # Left out: what is about the build, the script, the documents or code in Python alone, what starts
    # many interpreters, and the fault rows, which the C tests of the transport stand for here.
    LD_PRELOAD=$(gcc -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
        PYTHONMALLOC=malloc PYTHONPATH=build/asan/lib \
        python -m pytest -q -m "not timing" \
        --ignore=tests/python/test_package.py --ignore=tests/python/test_dev.py \
        --ignore=tests/python/test_startup.py --ignore=tests/python/test_schemathesis.py \
        --ignore=tests/python/test_readme.py --ignore=tests/python/test_examples.py \
        --ignore=tests/python/test_cli.py --ignore=tests/python/test_cli_model.py \
        --ignore=tests/python/test_diff.py --ignore=tests/python/serving \
        --ignore=tests/python/processes --ignore=tests/python/faults
}

valgrind_both() {
    memcheck="valgrind -q --error-exitcode=99 --leak-check=full --num-callers=30 \
        --show-leak-kinds=definite --errors-for-leak-kinds=definite"
    say "C tests under valgrind"
    # Left out, since they take too long here: thousands of whole calls, each with another allocation
    # failing, and 100,000 random prompts.
    make -s -C csrc check VARIANT=valgrind SKIP="curl_memory spans_random" WRAP="$memcheck --suppressions=../tests/valgrind.supp"
    say "marked Python tests under valgrind"
    # malloc_debug fills what the interpreter allocates: it reads some of that unwritten, harmlessly.
    # Only what the marked tests need is loaded: imports are what takes long here.
    # shellcheck disable=SC2046,SC2086 # lists of options and of files
    PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 PYTHONMALLOC=malloc_debug \
        $memcheck --suppressions=tests/valgrind.supp python -m pytest -q -p no:cacheprovider \
        -m valgrind $(grep -l 'mark\.valgrind' tests/python/test_*.py)
}

debug() {
    venv=build/debug/venv
    [ -x $venv/bin/python ] || python3-dbg -m venv $venv
    {
        sed -n 's/^requires = \["\(.*\)"\]$/\1/p' pyproject.toml
        sed -n 's/^ *"\(pytest==[^"]*\)".*/\1/p' pyproject.toml
    } | $venv/bin/python -m pip install -q -r /dev/stdin
    package debug $venv/bin/python "-g"
    say "leaks of objects on a debug Python"
    PYTHONPATH=build/debug/lib $venv/bin/python -m pytest -q tests/python/test_leaks.py
}

[ $# -gt 0 ] || set -- c python valgrind debug
for kind; do
    case $kind in
    c) c ;;
    python) python_asan ;;
    valgrind) valgrind_both ;;
    debug) debug ;;
    *)
        say "no kind '$kind': c, python, valgrind or debug" >&2
        exit 2
        ;;
    esac
done
