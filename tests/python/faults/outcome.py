"""How the rows are checked: a client for a server, a call that must fail, in its time."""

from __future__ import annotations

import time
from typing import Any, TypeVar

import pytest
from promptlathe import APIError, Client

KEY = "sk-test-0123456789abcdef"
TASK = "Write a haiku about rivers"
E = TypeVar("E", bound=BaseException)


def client_for(url: str, **options: Any) -> Client:
    """A client that tries twice and gives up after five seconds, unless told otherwise."""
    return Client(KEY, base_url=url, **{"timeout": 5, "max_retries": 1, **options})


def failure(
    client: Client, kind: type[E], *, within: float = 6.0, after: float = 0.0, **options: Any
) -> E:
    """Make a call that must end in exactly `kind`, between `after` and `within` seconds."""
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        client.generate(TASK, **options)
    took = time.monotonic() - started
    assert type(caught.value) is kind, repr(caught.value)
    assert after <= took <= within, f"it took {took:.3f} s"
    if isinstance(caught.value, APIError):
        assert TASK not in str(caught.value) and KEY not in str(caught.value)
    return caught.value
