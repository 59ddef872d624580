"""The pytest plugin: a simulated service for a user's own tests.

Installed with the package under the entry point ``promptlathe``; nothing but the fixture is defined
here, and the server is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from promptlathe.mock import Server

API_KEY = "simulated-key"
_PORT = pytest.StashKey[int]()


@pytest.fixture
def promptlathe_server(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    """A simulated service of this test alone; see `promptlathe.mock.Server`.

    ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_API_KEY`` point to it for the length of the test, so
    that code under test which makes its own `Client()` reaches it unchanged. The default client
    behind `promptlathe.generate` and its kin is made once per interpreter and stays with the
    address that it found at its first call. So that it reaches each test's service too, all of
    them listen on one port, unless another program takes it in between; only a call that was made
    without this fixture ties the default client to another address.

    A callable of `script` that raises fails the test when it ends.
    """
    with _start(request.config) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", API_KEY)
        monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
        yield server
    if server.errors:
        pytest.fail(f"a callable of the script failed: {server.errors[0]!r}")


@contextmanager
def _start(config: pytest.Config) -> Iterator[Server]:
    """Run a service, on the port of the one before it when that is free."""
    from promptlathe.mock import Server

    server = Server(port=config.stash.get(_PORT, 0))
    try:
        server.start()
    except OSError:
        server = Server().start()
    config.stash[_PORT] = int(server.url.rpartition(":")[2])
    with closing(server):
        yield server
