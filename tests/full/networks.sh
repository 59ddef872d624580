#!/bin/sh
# The clients on networks that fail: behind toxiproxy, with every toxic in both directions, and on a
# route into another network namespace that goes dark. Run it by ./dev full, or alone with PYTHON set to
# an interpreter that has promptlathe and the tools of the tests; pytest gets the arguments, such as
# --fault-table docs/faults-network.md, which writes down what each fault ends in. All of it has a network of
# its own: the host's is left alone, and nothing of it is left.
set -eu
cd "$(dirname "$0")/../.."

TOXIPROXY_VERSION=v2.5.0 # https://github.com/Shopify/toxiproxy
PLACE=$(pwd)/build/toxiproxy/$TOXIPROXY_VERSION
PYTHON=${PYTHON:-python3}

fail() {
    echo "networks.sh: $*" >&2
    exit 1
}

[ "$(id -u)" -eq 0 ] || fail "only root can make network namespaces"
for command in ip unshare nsenter; do
    command -v $command >/dev/null ||
        fail "$command is needed (Debian: apt-get install iproute2 util-linux)"
done

if [ ! -x "$PLACE/server" ]; then
    command -v go >/dev/null || fail "go is needed (Debian: apt-get install golang-go)"
    echo "== building toxiproxy $TOXIPROXY_VERSION"
    GOBIN=$PLACE go install "github.com/Shopify/toxiproxy/v2/cmd/server@$TOXIPROXY_VERSION"
fi

export TOXIPROXY="$PLACE/server" PYTHONPATH="tests/python${PYTHONPATH:+:$PYTHONPATH}"
unset http_proxy https_proxy all_proxy no_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY
# shellcheck disable=SC2016 # expanded by the inner shell
exec unshare --net sh -euc 'ip link set lo up && exec "$@"' sh \
    "$PYTHON" -m pytest -p faults.rows -p faults.conftest "$@" tests/full/networks
