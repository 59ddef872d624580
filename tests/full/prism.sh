#!/bin/sh
# A mock made by others from docs/openapi.json (Prism, of npm) against the real client.
# Run it by ./dev full, or alone with PYTHON set to an interpreter that has promptlathe.
set -eu
cd "$(dirname "$0")/../.."

PRISM=@stoplight/prism-cli@5.14.2

command -v npm >/dev/null || {
    echo "prism.sh: npm is needed (Debian: apt-get install npm)" >&2
    exit 1
}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "== installing $PRISM"
npm install --prefix "$place" --no-audit --no-fund --no-package-lock --loglevel=error "$PRISM"

PYTHONPATH=python${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python3}" tests/full/prism.py "$place/node_modules/.bin/prism"
