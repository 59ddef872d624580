"""Three ways of calling, toxiproxy, and the far end of a route; `networks.sh` runs these tests."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from typing import Any

import pytest
from far import THERE, Far
from faults.tls import Authority
from toxiproxy import Toxiproxy
from ways import WAYS_OF_ONE


@pytest.fixture(params=WAYS_OF_ONE.values(), ids=WAYS_OF_ONE.keys())
def way(request: pytest.FixtureRequest) -> Any:
    """Each manner of making one call, as a class to be made with a URL and a client's options."""
    return request.param


@pytest.fixture(scope="session")
def context(authority: Authority) -> ssl.SSLContext:
    """A server's, for toxiproxy's address."""
    return authority.issue("127.0.0.1")


@pytest.fixture(scope="session")
def far_context(authority: Authority) -> ssl.SSLContext:
    """A server's, for the far end's address."""
    return authority.issue(THERE)


@pytest.fixture(scope="session")
def toxiproxy() -> Iterator[Toxiproxy]:
    """A toxiproxy of our own; it has to be there."""
    with Toxiproxy(os.environ["TOXIPROXY"]) as running:
        yield running


@pytest.fixture(scope="session")
def far() -> Iterator[Far]:
    """The other end of a route."""
    with Far() as end:
        yield end


@pytest.fixture(autouse=True)
def light(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test has done to the route, the next one finds it whole."""
    yield
    if "far" in request.fixturenames:
        request.getfixturevalue("far").lighten()
