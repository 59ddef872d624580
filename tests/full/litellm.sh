#!/bin/sh
# LiteLLM's proxy (of PyPI, with its own mocked answers) against the real client with a model.
# Run it by ./dev full, or alone with PYTHON set to an interpreter that has promptlathe.
set -eu
cd "$(dirname "$0")/../.."

LITELLM="litellm[proxy]==1.106.2"

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

echo "== installing $LITELLM"
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check "$LITELLM"

PYTHONPATH=python${PYTHONPATH:+:$PYTHONPATH} "${PYTHON:-python3}" tests/full/litellm.py "$place/venv/bin/litellm"
