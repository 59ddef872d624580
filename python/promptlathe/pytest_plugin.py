"""The pytest plugin: a simulated service for a user's own tests.

Installed with the package under the entry point ``promptlathe``; nothing but the fixture is defined
here, and the server is imported when a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from promptlathe.mock import Server

API_KEY = "simulated-key"


@pytest.fixture
def promptlathe_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A simulated service of this test alone; see `promptlathe.mock.Server`.

    ``ANTHROPIC_BASE_URL`` and ``ANTHROPIC_API_KEY`` point to it for the length of the test, so
    that code under test which makes its own `Client()` reaches it unchanged. The default client
    behind `promptlathe.generate` and its kin is made once per interpreter, at its first call, and
    stays with the address that it found then: in tests make a client,
    ``Client(api_key="any", base_url=promptlathe_server.url)`` or ``Client()``.

    A callable of `script` that raises fails the test when it ends.
    """
    from promptlathe.mock import Server

    with Server() as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", API_KEY)
        monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
        yield server
    if server.errors:
        pytest.fail(f"a callable of the script failed: {server.errors[0]!r}")
