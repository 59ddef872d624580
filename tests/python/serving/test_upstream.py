"""What callers are told of an upstream that fails, and what they are not told."""

from __future__ import annotations

import threading
from typing import Any
from uuid import uuid4

import promptlathe
import pytest
from promptlathe.mock import Server

from .server import HEADERS, KEY, TASK, Running, running

GOOD: dict[str, Any] = {"messages": [], "system": "", "usage": {}}


def stranger() -> dict[str, str]:
    """A caller whom no earlier refusal of the upstream holds back: each key has its own client."""
    return HEADERS | {"x-api-key": f"sk-{uuid4().hex}"}


def error_of(kind: str, message: str = "what the upstream says") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}}


@pytest.mark.parametrize(
    ("step", "status", "kind"),
    [
        ({"status": 400}, 400, "invalid_request_error"),
        ({"status": 401}, 401, "authentication_error"),
        ({"status": 402}, 402, "billing_error"),
        ({"status": 403}, 403, "permission_error"),
        ({"status": 404}, 502, "api_error"),
        ({"status": 413}, 413, "request_too_large"),
        ({"status": 418}, 418, "invalid_request_error"),
        ({"status": 429}, 429, "rate_limit_error"),
        ({"status": 500}, 500, "api_error"),
        ({"status": 503}, 503, "api_error"),
        ({"status": 504}, 504, "timeout_error"),
        ({"status": 529}, 529, "overloaded_error"),
        ({"status": 500, "body": error_of("overloaded_error")}, 500, "overloaded_error"),
        ({"status": 400, "body": error_of("no documented type")}, 400, "invalid_request_error"),
        ({"status": 502, "body": "<html>a proxy</html>"}, 502, "api_error"),
        ({"status": 302, "headers": {"location": "http://elsewhere/"}}, 502, "api_error"),
        ({"status": 204}, 502, "api_error"),
        ({"status": 200, "body": "{}"}, 502, "api_error"),
        ({"status": 200, "body": "<html>"}, 502, "api_error"),
        ({"close": "before"}, 502, "api_error"),
        ({"reset": "before"}, 502, "api_error"),
        ({"truncate": 10}, 502, "api_error"),
    ],
    ids=str,
)
def test_errors_of_the_upstream(
    proxy: Running, upstream: Server, step: dict[str, Any], status: int, kind: str
) -> None:
    upstream.script([step])
    reply = proxy.ask(headers=stranger())
    assert (reply.status, reply.error["type"]) == (status, kind)
    (entry,) = proxy.log.wait()
    assert (entry["status"], entry["error"], entry["upstream_attempts"]) == (status, kind, 1)
    assert proxy.ask(headers=stranger()).status == 200


def test_what_an_error_carries_is_passed_on(proxy: Running, upstream: Server) -> None:
    body = error_of("rate_limit_error", "7 requests in a minute are enough")
    fields = {"retry-after": "6.5", "request-id": "req_of_the_upstream"}
    upstream.script([{"status": 429, "headers": fields, "body": body}])
    reply = proxy.ask(headers=stranger())
    assert reply.error == body["error"]
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["request-id"] == "req_of_the_upstream"
    (entry,) = proxy.log.wait()
    assert entry["upstream_request_id"] == "req_of_the_upstream" != entry["request_id"]


@pytest.mark.parametrize("id_", ["a\nb: c", "\u00e9", "x" * 201, ""])
def test_an_id_that_is_no_id_is_not_passed_on(proxy: Running, upstream: Server, id_: str) -> None:
    body = error_of("api_error") | {"request_id": id_}
    upstream.script([{"status": 500, "headers": {"request-id": None}, "body": body}])
    reply = proxy.ask()
    assert reply.status == 500 and reply.headers["request-id"].startswith("req_")
    assert "upstream_request_id" not in proxy.log.wait()[0]


def test_an_upstream_that_echoes_the_key_does_not_show_it(proxy: Running, upstream: Server) -> None:
    upstream.script([{"status": 401, "body": error_of("authentication_error", f"not {KEY}")}])
    reply = proxy.ask()
    assert reply.status == 401 and KEY.encode() not in reply.body
    assert KEY not in str(proxy.log.wait())


def test_a_long_message_is_cut(proxy: Running, upstream: Server) -> None:
    upstream.script([{"status": 500, "body": error_of("api_error", "x" * 100_000)}])
    assert len(proxy.ask().body) < 5000


def test_nobody_there(upstream: Server) -> None:
    with Server() as gone:
        url = gone.url
    with running(model="m", upstream=url) as server:
        reply = server.ask()
    assert reply.status == 502
    assert reply.error["message"] == "the upstream cannot be reached (connect)"


def test_an_upstream_without_an_answer(upstream: Server) -> None:
    upstream.script([{"until": threading.Event()}])
    with running(model="m", upstream=upstream.url, timeout=1.0) as server:
        assert server.ask().error["type"] == "timeout_error"


# ---- Answers that cannot be used, and faults of our own -----------------------------------------


class Failing:
    """A client whose calls fail in some way."""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.with_raw_response = self

    async def generate(self, task: str, *, timeout: float) -> Any:
        raise self.error


def failing(proxy: Running, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    from promptlathe.serve.clients import Clients

    monkeypatch.setattr(Clients, "_find", lambda self, credential: _Lent(Failing(error)))


class _Lent:
    def __init__(self, client: Failing) -> None:
        self.client, self.users, self.kept = client, 0, True


def test_a_fault_of_ours_tells_its_place_to_the_log_alone(
    proxy: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(proxy, monkeypatch, KeyError(TASK))
    reply = proxy.ask()
    assert reply.status == 500 and reply.error["type"] == "api_error"
    (entry,) = proxy.log.wait()
    assert entry["fault"].startswith("KeyError at test_upstream.py:")
    assert TASK not in reply.error["message"] and TASK not in str(entry)


def test_a_client_that_is_closed_meanwhile(proxy: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(proxy, monkeypatch, promptlathe.ClientClosedError("closed"))
    reply = proxy.ask()
    assert reply.status == 503 and reply.headers["retry-after"] == "1"
