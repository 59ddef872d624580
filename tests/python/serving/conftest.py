"""Servers in front of the simulated answers, and of a simulated service that is their upstream."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from promptlathe.mock import Server

from .server import Running, running, stand_in


@pytest.fixture(scope="module")
def _patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def _upstream(_patch: pytest.MonkeyPatch) -> Iterator[Server]:
    stand_in(_patch)
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def _proxy(_upstream: Server) -> Iterator[Running]:
    with running(model="model-1", upstream=_upstream.url) as served:
        yield served


@pytest.fixture(scope="module")
def _simulated() -> Iterator[Running]:
    with running(simulated=True) as served:
        yield served


@pytest.fixture
def upstream(_upstream: Server) -> Server:
    """A simulated service that stands in for the upstream."""
    _upstream.reset()
    return _upstream


@pytest.fixture
def proxy(upstream: Server, _proxy: Running) -> Running:
    """A server in front of `upstream`."""
    _proxy.forget()
    return _proxy


@pytest.fixture
def simulated(_simulated: Running) -> Running:
    """A server of the simulated answers."""
    _simulated.forget()
    return _simulated
