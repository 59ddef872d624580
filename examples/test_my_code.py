"""How a program that uses promptlathe is tested: ``pytest examples/test_my_code.py``.

The fixture ``promptlathe_server`` comes with the package: a simulated service on loopback, new for
each test, and ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY point to it meanwhile. Nothing here needs a
key, a network or patience.
"""

from __future__ import annotations

from collections.abc import Iterator

import promptlathe
import pytest
from promptlathe.mock import Server

EXAMPLE = "Translate hello to German"


def translate_into(client: promptlathe.Client, example: str, language: str) -> str:
    """Say the example's sentence for another language; this is the code under test."""
    template = client.templatize(example)
    values = template["variable_values"] | {"TARGET_LANGUAGE": language}
    filled = promptlathe.render(template, values)
    (message,) = promptlathe.validate_messages(filled["messages"])
    return message["content"][0]["text"]


@pytest.fixture
def client(promptlathe_server: Server) -> Iterator[promptlathe.Client]:
    """Return a client of the simulated service."""
    with promptlathe.Client() as client:
        yield client


def test_another_language(client: promptlathe.Client) -> None:
    """The usual way."""
    assert translate_into(client, EXAMPLE, "French") == "Translate hello to French"


def test_what_was_sent(client: promptlathe.Client, promptlathe_server: Server) -> None:
    """The server has seen exactly this."""
    translate_into(client, EXAMPLE, "French")
    (request,) = promptlathe_server.requests
    assert request.json["messages"][0]["content"][0]["text"] == EXAMPLE


def test_a_busy_service_is_asked_again(
    client: promptlathe.Client, promptlathe_server: Server
) -> None:
    """Two refusals, then an answer."""
    promptlathe_server.script([{"status": 529, "headers": {"retry-after-ms": "1"}}] * 2)
    assert translate_into(client, EXAMPLE, "French") == "Translate hello to French"
    assert len(promptlathe_server.requests) == 3


def test_a_service_that_stays_busy(client: promptlathe.Client, promptlathe_server: Server) -> None:
    """Three refusals are one too many."""
    promptlathe_server.script([{"status": 529, "headers": {"retry-after-ms": "1"}}] * 3)
    with pytest.raises(promptlathe.OverloadedError) as caught:
        translate_into(client, EXAMPLE, "French")
    assert caught.value.attempts == 3


def test_a_connection_that_breaks(client: promptlathe.Client, promptlathe_server: Server) -> None:
    """The connection is reset before the answer, and the call is made again."""
    promptlathe_server.script([{"reset": True}])
    assert translate_into(client, EXAMPLE, "French") == "Translate hello to French"
