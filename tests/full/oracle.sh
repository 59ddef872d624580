#!/bin/sh
# A million random inputs of every rule, the extension against the oracle that was written from the
# contract alone; ./dev full runs it. SEED may be set.
set -eu
cd "$(dirname "$0")/../.."
exec python tests/python/test_rules_oracle.py --count 1000000 --seed "${SEED:-1}"
