"""What a Messages API answers, as steps for the script of `promptlathe.mock.Server`.

The server itself knows nothing of models: a step's body is all that it sends. A script that is too
short shows in the test, because the path of the Messages API is not found by the server's own rules.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptlathe import Client
from promptlathe.mock import Request, Server

MODEL = "a-model"
USAGE = {"input_tokens": 10, "output_tokens": 5}


def answer(text: str | None = None, **members: Any) -> dict[str, Any]:
    """A whole answer with one text block; a member that is None is left out."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    changed = body | members
    return {name: value for name, value in changed.items() if members.get(name, "") is not None}


def says(text: str, **members: Any) -> dict[str, Any]:
    """A step: the model writes this."""
    return {"body": answer(text, **members)}


def prompt(text: str, prefill: str = "") -> str:
    """What a model writes for generate and improve."""
    return f"<result_prompt>\n{text}\n</result_prompt>\n<result_prefill>{prefill}</result_prefill>"


def spans(*pairs: tuple[str, str]) -> str:
    """What a model writes for templatize: names and texts."""
    named = [{"name": name, "text": text} for name, text in pairs]
    return f"<result_variables>\n{json.dumps(named, ensure_ascii=False)}\n</result_variables>"


def refuses(status: int, message: str, kind: str = "invalid_request_error") -> dict[str, Any]:
    """A step: the documented body of an error."""
    error = {"type": kind, "message": message}
    return {"status": status, "body": {"type": "error", "error": error}}


def asked(request: Request) -> str:
    """All that the model is told in a request, turn after turn."""
    turns = request.json["messages"]
    return "\n".join(f"[{turn['role']}] {turn['content']}" for turn in turns)


def client_of(server: Server, **options: Any) -> Client:
    """A client of a model, without a key, that does not retry unless told to."""
    settings: dict[str, Any] = {"model": MODEL, "max_retries": 0, "timeout": 20, **options}
    return Client(base_url=server.url, **settings)


@contextmanager
def scripted(*steps: Any, **options: Any) -> Iterator[tuple[Server, Client]]:
    """A server with a script, and a client of it; all of the script must have been used."""
    with Server() as server, client_of(server, **options) as client:
        server.script(steps)
        yield server, client
        assert len(server.requests) == len(steps)
        assert all(request.path == "/v1/messages" for request in server.requests)


def plausible(request: Request) -> dict[str, Any]:
    """A step: what a model that heeds its instructions might answer, as JSON by its schema."""
    told = asked(request)
    variables = " ".join(line for line in told.splitlines() if line.startswith("{{"))
    texts = {
        "result_prompt": f"You are careful. Do it step by step. {variables}".strip(),
        "result_prefill": "",
        "result_examples": "",
    }
    named = [("WORD_TO_TRANSLATE", "hello"), ("TARGET_LANGUAGE", "German")]
    found = [{"name": name, "text": text} for name, text in named if text in told]
    wanted = request.json["output_config"]["format"]["schema"]["required"]
    members = {name: texts.get(name, found) for name in wanted}
    return says(json.dumps(members))
