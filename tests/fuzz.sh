#!/bin/sh
# Fuzzing of the core: the programs of tests/fuzz with libFuzzer, AddressSanitizer (with leaks) and
# UndefinedBehaviorSanitizer. Needs clang with its runtime (libclang-rt-*-dev) and python3.
#
#   tests/fuzz.sh [SECONDS] [TARGET...]
#
# Each target runs for SECONDS (600); with 0 only the inputs that are there are tried. An input that
# finds something is kept in build/fuzz/findings, and the exit code is 1. What is learnt on the way
# stays in build/fuzz/corpus for the next time. FUZZ_BUILD names another directory than build/fuzz.
#
#   FUZZ_RUNS=100000000 FUZZ_LENGTH=400 tests/fuzz.sh 0 reader
#
# With FUZZ_RUNS each target runs so many times, however long that takes, built without the
# sanitizers and for speed, in build/fuzz-fast: for a comparison that needs no more than itself.
# FUZZ_LENGTH is the most bytes of an input, and short ones are many times as fast.
set -eu
cd "$(dirname "$0")/.."

say() {
    printf -- '-- %s\n' "$*"
}

seconds=${1:-600}
[ $# -eq 0 ] || shift
case $seconds in
*[!0-9]* | '')
    say "usage: fuzz [SECONDS] [TARGET...]" >&2
    exit 2
    ;;
esac

many=${FUZZ_RUNS:-}
build=${FUZZ_BUILD:-build/fuzz${many:+-fast}}
mkdir -p "$build"
out=$(cd "$build" && pwd)
mkdir -p "$out/findings" "$out/log"

all=
for file in tests/fuzz/*.c; do
    name=$(basename "$file" .c)
    [ "$name" = support ] || all="$all $name"
done
# shellcheck disable=SC2086 # a list of names
[ $# -gt 0 ] || set -- $all
programs=
for target; do
    case " $all " in
    *" $target "*) programs="$programs $out/bin/$target" ;;
    *)
        say "no target '$target':$all" >&2
        exit 2
        ;;
    esac
done

say "building"
# shellcheck disable=SC2086 # a list of names
make -s -C csrc -f ../tests/fuzz/Makefile OUT="$out" \
    ${many:+SAN=fuzzer-no-link OPTIMIZE=-O2} $programs
rm -rf "$out/seeds"
python3 tests/fuzz/seeds.py "$out/seeds"

# The last number behind "cov:" or another word of libFuzzer's reports.
last() {
    sed -n "s/.* $1 \([0-9][0-9]*\).*/\1/p" "$2" | tail -n 1
}

# run TARGET ARGUMENTS...: the target over all its inputs.
run() {
    target=$1
    shift
    mkdir -p "$out/corpus/$target"
    [ ! -d "tests/fuzz/corpus/$target" ] || set -- "$@" "tests/fuzz/corpus/$target"
    "$out/bin/$target" -timeout=10 -rss_limit_mb=2048 -detect_leaks=1 -print_final_stats=1 \
        -artifact_prefix="$out/findings/$target-" "$out/corpus/$target" "$out/seeds/$target" "$@"
}

fuzz() {
    log=$out/log/$1
    began=$(date +%s)
    if [ -n "$many" ]; then
        set -- "$1" -runs="$many" -max_len="${FUZZ_LENGTH:-0}" -dict="tests/fuzz/$1.dict"
    elif [ "$seconds" -eq 0 ]; then
        set -- "$1" -runs=0
    else
        set -- "$1" -max_total_time="$seconds" -dict="tests/fuzz/$1.dict"
    fi
    found=no
    run "$@" >"$log" 2>&1 || found=yes
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    printf '%-12s %9s runs %5d s %6s edges  findings: %s\n' "$1" "${runs:-?}" \
        $(($(date +%s) - began)) "$(last cov: "$log")" "$found"
    [ "$found" = yes ] || return 0
    failed="$failed $1"
    grep -E '^FINDING|^SUMMARY|ERROR:|runtime error|    #[0-9]+ .*(csrc|tests)/' "$log" | head -n 12
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    say "all of it: $log"
    say "again: $out/bin/$1 ${input:-"$out/findings/$1-*"}"
}

failed=
for target; do
    fuzz "$target"
done
if [ -n "$failed" ]; then
    say "found something:$failed" >&2
    exit 1
fi
