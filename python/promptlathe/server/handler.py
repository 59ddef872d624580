"""One request in, one answer out: the documented rules of the endpoints, without a socket.

`handle` is a function of what was received alone, so that several fronts can share it. Where the
documentation is silent: a beta header that lacks ``prompt-tools-2025-04-02`` and a wrong
``anthropic-version`` are a 400 ``invalid_request_error``; a body that is not said to be JSON is a
415 and a wrong method a 405, both with the same type, as the vendor uses it for every 4xx that has
no type of its own; unknown members of a body are refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from promptlathe.server import bodies, strict_json

BETA = "prompt-tools-2025-04-02"
VERSION = "2023-06-01"
MAX_BODY_BYTES = 32 << 20  # the vendor's documented limit of a request

ENDPOINTS = {
    "/v1/experimental/generate_prompt": "generate",
    "/v1/experimental/improve_prompt": "improve",
    "/v1/experimental/templatize_prompt": "templatize",
}

# The vendor's documented types; any other 4xx is invalid_request_error, any other 5xx api_error.
ERROR_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}

Pairs = Sequence[tuple[str, str]]
Answerer = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. Header names are in lower case; content-length is the front's affair."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Refusal(Exception):
    """A request that breaks a rule: the status and a sentence for the error body."""

    def __init__(self, status: int, message: str, headers: Pairs = ()) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)


def handle(
    method: str,
    path: str,
    headers: Pairs,
    body: bytes,
    *,
    request_id: str,
    answerer: Answerer,
    api_key: str | None = None,
    max_body_bytes: int = MAX_BODY_BYTES,
) -> Answer:
    """Answer one request.

    Parameters
    ----------
    method, path
        Of the request line; a query behind ``?`` is left aside.
    headers
        Pairs in the order received; names in any case, repeats allowed.
    body
        The decoded body.
    request_id
        What to put into the ``request-id`` header and into errors.
    answerer
        Called with the verb and the checked members; gives the body of the 200 answer.
    api_key
        The only key that is accepted. None: any that is not empty.
    max_body_bytes
        A longer body is a 413.

    Returns
    -------
    Answer
        The documented answer, or the documented error.
    """
    try:
        verb = _route(method, path.partition("?")[0])
        fields = _join(headers)
        _authenticate(fields, api_key)
        _check_headers(fields)
        if len(body) > max_body_bytes:
            raise Refusal(413, f"the body exceeds {max_body_bytes} bytes")
        given = _read(verb, body)
    except Refusal as refusal:
        return error(refusal.status, str(refusal), request_id, refusal.headers)
    return _json(200, answerer(verb, given), request_id)


def error(status: int, message: str, request_id: str, headers: Pairs = ()) -> Answer:
    """Make an answer in the vendor's error shape; the type follows from the status."""
    fallback = "api_error" if status >= 500 else "invalid_request_error"
    fault = {"type": ERROR_TYPES.get(status, fallback), "message": message}
    return _json(
        status, {"type": "error", "error": fault, "request_id": request_id}, request_id, headers
    )


def _json(status: int, value: Any, request_id: str, headers: Pairs = ()) -> Answer:
    body = json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return Answer(
        status, [("content-type", "application/json"), ("request-id", request_id), *headers], body
    )


def _route(method: str, path: str) -> str:
    verb = ENDPOINTS.get(path)
    if verb is None:
        raise Refusal(404, f"there is nothing here; the endpoints are {', '.join(ENDPOINTS)}")
    if method != "POST":
        raise Refusal(
            405, f"the method {method} is not allowed here; use POST", [("allow", "POST")]
        )
    return verb


def _join(headers: Pairs) -> dict[str, str]:
    fields: dict[str, str] = {}
    for name, value in headers:
        name, value = name.lower(), value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def _authenticate(fields: dict[str, str], api_key: str | None) -> None:
    key = fields.get("x-api-key")
    if key is None:
        scheme, _, token = fields.get("authorization", "").partition(" ")
        key = token.strip() if scheme.lower() == "bearer" else None
    if not key:
        raise Refusal(401, "x-api-key header is required")
    if api_key is not None and key != api_key:
        raise Refusal(401, "invalid x-api-key")


def _check_headers(fields: dict[str, str]) -> None:
    version = fields.get("anthropic-version")
    if version is None:
        raise Refusal(400, "anthropic-version: header is required")
    if version != VERSION:
        raise Refusal(400, f"anthropic-version: is not a valid version; use {VERSION}")
    betas = [beta.strip() for beta in fields.get("anthropic-beta", "").split(",")]
    if BETA not in betas:
        raise Refusal(400, f"anthropic-beta: must hold {BETA} to use this endpoint")
    media = fields.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise Refusal(415, "content-type: must be application/json")


def _read(verb: str, body: bytes) -> dict[str, Any]:
    try:
        value = strict_json.read(body)
    except strict_json.MalformedJSON as fault:
        raise Refusal(400, str(fault)) from None
    given, faults = bodies.check(verb, value)
    if faults:
        raise Refusal(400, bodies.sentence(faults))
    return given
