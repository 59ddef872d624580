"""One call against the simulated service, and what comes of it."""

from __future__ import annotations

from typing import Any, TypeVar

from promptlathe import APIError, Client
from promptlathe.mock import Server

KEY = "sk-lathe-0123456789abcdef"
TASK = "Write a limerick about the zeppelin of Friedrichshafen"

_Error = TypeVar("_Error", bound=APIError)


def client_of(server: Server, **options: Any) -> Client:
    """A client of the simulated service that does not retry unless told to."""
    options.setdefault("max_retries", 0)
    if "auth_token" not in options:
        options.setdefault("api_key", KEY)
    return Client(base_url=server.url, timeout=20, **options)


def failure(
    server: Server,
    step: Any,
    kind: type[_Error] = APIError,
    **options: Any,  # type: ignore[assignment]
) -> _Error:
    """What `generate` raises when the service answers as `step` says."""
    server.script([step])
    with client_of(server, **options) as client:
        return failure_of(client, kind)


def failure_of(client: Client, kind: type[_Error] = APIError) -> _Error:  # type: ignore[assignment]
    """What `generate` raises on this client, of exactly this class unless it is `APIError`."""
    try:
        result = client.generate(TASK)
    except APIError as error:
        assert kind is APIError or type(error) is kind, repr(error)
        return error  # type: ignore[return-value]
    raise AssertionError(f"an error was expected, not {result!r}")


def fault(kind: Any = "invalid_request_error", message: Any = "not so") -> dict[str, Any]:
    """The documented body of an error."""
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_body"}
