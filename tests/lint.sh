#!/bin/sh
# Formats, warnings, static analysis, types and stubs; ./dev lint runs it with the tools in the PATH.
# Every check is run, also after one has found something.
set -eu
cd "$(dirname "$0")/.."

failed=

# step TITLE COMMAND...
step() {
    title=$1
    shift
    printf -- '-- %s\n' "$title"
    "$@" || failed="$failed '$title'"
}

c_files() {
    find csrc tests/c tests/fuzz examples benchmarks -name "$1" | sort
}

# The extension with the warnings that gcc or clang have, as errors.
strict() {
    CC=$1 PROMPTLATHE_STRICT=1 python setup.py -q build_ext --force \
        --build-temp "build/strict-$1/temp" --build-lib "build/strict-$1/lib"
}

# What the benchmarks run beside the package; they are built when they are needed.
benchmark_programs() {
    $1 -fsyntax-only -std=c11 -D_POSIX_C_SOURCE=200809L -Wall -Wextra -Wpedantic -Wconversion \
        -Wshadow -Werror benchmarks/support/*.c
}

# clang-tidy over the sources of one directory; $2: more flags. One file at a time: among several its
# analyzer mistakes the va_list of one for that of another.
tidy() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    c_files '*.c' | grep "^$1/" | xargs -P 2 -I '{}' sh -c '
        clang-tidy --quiet --warnings-as-errors="*" "$1" -- -std=c11 -D_POSIX_C_SOURCE=200809L \
            -Icsrc/include $2 2>/dev/null' tidy '{}' "${2-}"
}

python_include=$(python -c 'import sysconfig; print(sysconfig.get_path("include"))')

# shellcheck disable=SC2046 # a list of files
step "clang-format" clang-format --dry-run --Werror $(c_files '*.[ch]')
for compiler in gcc clang; do
    step "the core, its tests and examples ($compiler)" \
        make -s -C csrc CC=$compiler VARIANT=$compiler WERROR=-Werror
    step "the extension ($compiler)" strict $compiler
    step "the benchmarks' programs ($compiler)" benchmark_programs $compiler
done
# What a callback writes through a pointer is unwritten to cppcheck: gcc judges that better.
step "cppcheck" cppcheck --quiet --std=c11 --enable=warning,performance,portability \
    --error-exitcode=1 --suppress=missingInclude --suppress=legacyUninitvar \
    --suppress=uninitvar --suppress=uninitStructMember --suppress=unknownEvaluationOrder \
    -Icsrc/include csrc/core csrc/binding
step "clang-tidy, core" tidy csrc/core
step "clang-tidy, binding" tidy csrc/binding "-DPy_LIMITED_API=0x030B0000 -isystem $python_include"
step "the instructions in C" python csrc/instructions/embed.py --check
step "shellcheck" shellcheck -x dev .ci/run tests/*.sh tests/full/*.sh tests/full/lib/*.sh wheels/*.sh
step "ruff" ruff check .
step "ruff's format" ruff format --check .
step "mypy" mypy python/promptlathe
step "stubtest" python -m mypy.stubtest promptlathe._core

if [ -n "$failed" ]; then
    printf 'lint found something in:%s\n' "$failed" >&2
    exit 1
fi
