"""One request in, one answer out: the documented rules of the endpoints, without a socket.

Several fronts share it. `handle` is a function of what was received alone. A front that has to
decide before it has the body, or that waits for its answers, takes the same steps one by one:
`fields_of`, `check_head`, `check_body`, then `success` or `error`. Where the documentation is
silent: a beta header that lacks ``prompt-tools-2025-04-02`` and a wrong ``anthropic-version`` are a
400 ``invalid_request_error``; a body that is not said to be JSON is a 415 and a wrong method a 405,
both with the same type, as the vendor uses it for every 4xx that has no type of its own; unknown
members of a body are refused.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
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
Fields = dict[str, str]  # headers by their names in lower case, repeats joined
Answerer = Callable[[str, dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back. Header names are in lower case; content-length is the front's affair."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


class Refusal(Exception):
    """A request that is not answered by a 200: the status and a sentence for the error body.

    `kind` is the error's type where the status alone does not tell it.
    """

    def __init__(
        self, status: int, message: str, headers: Pairs = (), *, kind: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = list(headers)
        self.kind = kind or error_type(status)


class TooLarge(Refusal):
    """A body that is longer than allowed; what of it has not come yet need not be read."""


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
    accepts = None if api_key is None else partial(operator.eq, api_key)
    try:
        verb = check_head(method, path, fields_of(headers), accepts)
        given = check_body(verb, body, max_body_bytes)
    except Refusal as refusal:
        return error(refusal, request_id)
    return success(answerer(verb, given), request_id)


def fields_of(headers: Pairs) -> Fields:
    """Join the headers of a request; names in any case, repeats allowed."""
    fields: Fields = {}
    for name, value in headers:
        name, value = name.lower(), value.strip(" \t")
        fields[name] = f"{fields[name]}, {value}" if name in fields else value
    return fields


def credential(fields: Fields) -> tuple[str, str] | None:
    """Return the caller's key and the option of a client that takes it, or None when there is none.

    The option is "api_key" for ``x-api-key``, which goes first, and "auth_token" for a bearer token.
    """
    key = fields.get("x-api-key")
    if key is not None:
        return ("api_key", key) if key else None
    scheme, _, token = fields.get("authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    return ("auth_token", token) if token else None


def check_head(
    method: str, path: str, fields: Fields, accepts: Callable[[str], bool] | None = None
) -> str:
    """Check all of a request but its body.

    Parameters
    ----------
    method, path
        Of the request line; a query behind ``?`` is left aside.
    fields
        The headers, from `fields_of`.
    accepts
        Whether a key (or a bearer token) is good. None: any that is not empty.

    Returns
    -------
    str
        The verb that is asked for.

    Raises
    ------
    Refusal
        For the first rule that is broken.
    """
    verb = _route(method, path.partition("?")[0])
    _authenticate(fields, accepts)
    _check_headers(fields)
    return verb


def check_size(size: int, max_body_bytes: int) -> None:
    """Raise `TooLarge` for a body that is, or is announced, longer than allowed."""
    if size > max_body_bytes:
        raise TooLarge(413, f"the body exceeds {max_body_bytes} bytes")


def check_body(verb: str, body: bytes, max_body_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """Return the checked members of a decoded body, `messages` in normal form; else a `Refusal`."""
    check_size(len(body), max_body_bytes)
    try:
        value = strict_json.read(body)
    except strict_json.MalformedJSON as fault:
        raise Refusal(400, str(fault)) from None
    given, faults = bodies.check(verb, value)
    if faults:
        raise Refusal(400, bodies.sentence(faults))
    return given


def success(result: dict[str, Any], request_id: str) -> Answer:
    """Make the 200 answer."""
    return _json(200, result, request_id)


def error(refusal: Refusal, request_id: str) -> Answer:
    """Make an answer in the vendor's error shape."""
    fault = {"type": refusal.kind, "message": str(refusal)}
    body = {"type": "error", "error": fault, "request_id": request_id}
    return _json(refusal.status, body, request_id, refusal.headers)


def error_type(status: int) -> str:
    """Return the documented type of an error with this status."""
    return ERROR_TYPES.get(status, "api_error" if status >= 500 else "invalid_request_error")


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


def _authenticate(fields: Fields, accepts: Callable[[str], bool] | None) -> None:
    found = credential(fields)
    if found is None:
        raise Refusal(401, "x-api-key header is required")
    if accepts is not None and not accepts(found[1]):
        raise Refusal(401, "invalid x-api-key")


def _check_headers(fields: Fields) -> None:
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
