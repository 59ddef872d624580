#!/bin/sh
# How much of the core the C tests alone reach: the tests of Python do not count here. ./dev coverage
# runs it with the tools in the PATH. Fails under 95 % of the lines or 85 % of the branches; what is
# missing stands in the tables. What a fork's child runs is not counted.
set -eu
cd "$(dirname "$0")/.."
out=build/coverage

say() {
    printf -- '-- %s\n' "$*"
}

# report OPTIONS...: from what has been collected.
report() {
    gcovr --root csrc --add-tracefile $out/coverage.json "$@"
}

say "C tests in a build that counts lines and branches"
[ ! -d $out ] || find $out -name '*.gcda' -exec rm -f {} +
make -s -C csrc check CC=gcc VARIANT=coverage OPTIMIZE=-O0 \
    CFLAGS="--coverage -fprofile-update=atomic" LDFLAGS="--coverage -Wl,-u,__gcov_dump"
(cd csrc && gcovr --root . --filter core/ --json ../$out/coverage.json ../$out/core)

say "lines of the core that the C tests alone reach"
report --txt -
say "branches of the core that the C tests alone reach, and the bounds"
report --txt - --txt-metric branch --print-summary --fail-under-line 95 --fail-under-branch 85
