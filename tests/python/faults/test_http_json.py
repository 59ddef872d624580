"""HTTP and JSON rows of the fault matrix: every status, every redirect, and what a 200 may hold.

The details of each (attributes of the errors, texts, hints) are tested in test_http_statuses.py and
test_answers.py; here stands what each row ends in, in every way of calling.
"""

from __future__ import annotations

import json
from typing import Any

import promptlathe
import pytest
from promptlathe import APIResponseValidationError, APIStatusError
from statuses import CLASSES, class_of

from faults.outcome import TASK, failure, success
from faults.raw_server import ANSWER, BODY, RawServer, answer, each

AT_ONCE = "retry-after-ms: 1"
HTML = b"<html><body><h1>Gateway</h1></body></html>"
ERROR = b'{"type":"error","error":{"type":"some_error","message":"not so"},"request_id":"r"}'

# ---- Statuses -----------------------------------------------------------------------------------

ALONE = [*CLASSES, 408, 501, 505]  # statuses with a rule of their own
STATUSES: dict[str, list[int]] = {
    **{str(status): [status] for status in sorted(ALONE)},
    "other 3xx": [status for status in range(300, 400) if not 301 <= status <= 308],
    "other 4xx": [status for status in range(400, 500) if status not in ALONE],
    "other 5xx": [status for status in range(500, 600) if status not in ALONE],
}


def refusal(status: int, body: bytes, *headers: str) -> bytes:
    return answer(status, b"" if status == 304 else body, [AT_ONCE, *headers])


@pytest.mark.fault("Status", "{name}")
@pytest.mark.parametrize("name", STATUSES)
def test_status(name: str, way: Any) -> None:
    """With a body of JSON, of HTML and without one."""
    answers = [(n, body) for n in STATUSES[name] for body in (ERROR, HTML, b"")]
    for status, body in answers:
        again = status in (408, 409, 429) or (status >= 500 and status not in (501, 505))
        attempts = 2 if again else 1
        script = each(*[refusal(status, body)] * attempts)
        with RawServer(script) as server, way(server.url) as client:
            error = failure(client, class_of(status), within=2)
            assert (error.status_code, error.attempts) == (status, attempts)
            assert server.attempts == [1, 2][:attempts]
            assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Status", "{status}")
@pytest.mark.parametrize("status", range(301, 309))
def test_redirect(status: int, way: Any) -> None:
    """Not followed: the error names the target."""
    with RawServer() as target:
        moved = refusal(status, HTML, f"location: {target.url}/v1")
        with RawServer(each(moved)) as server, way(server.url) as client:
            error = failure(client, APIStatusError, within=2)
            assert (error.status_code, error.location) == (status, f"{target.url}/v1")
            assert (error.attempts, len(server.requests), target.connections) == (1, 1, [])
            assert client.generate(TASK) == ANSWER


@pytest.mark.fault("Status", "{status}")
@pytest.mark.parametrize("status", [201, 202, 204, 206, 226])
def test_another_success(status: int, way: Any) -> None:
    response = answer(status, b"" if status == 204 else BODY, [AT_ONCE])
    if status == 204:
        response = response.replace(b"content-length: 0\r\n", b"")
    with RawServer(each(response)) as server, way(server.url) as client:
        error = failure(client, APIResponseValidationError, within=2)
        assert (error.status_code, error.attempts, server.attempts) == (status, 1, [1])
        assert client.generate(TASK) == ANSWER


# ---- Hints --------------------------------------------------------------------------------------

DATE = "Sun, 06 Nov 1994 08:49:37 GMT"
HINTS: dict[str, list[str]] = {
    "429 with retry-after-ms": ["retry-after-ms: 20"],
    "429 with retry-after of a fraction": ["retry-after: 0.02"],
    "429 with retry-after of whole seconds": ["retry-after: 1"],
    "429 with retry-after as a date": [f"date: {DATE}", "retry-after: " + DATE.replace("37", "38")],
    "429 with retry-after of no use": ["retry-after: soon"],
}


@pytest.mark.fault("Status", "{name}, once")
@pytest.mark.parametrize("name", HINTS)
def test_hint_is_waited_for(name: str, way: Any) -> None:
    script = each(answer(429, ERROR, HINTS[name]))
    with RawServer(script) as server, way(server.url) as client:
        assert success(client, attempts=2) == ANSWER
        assert server.attempts == [1, 2]


@pytest.mark.fault("Status", "429 with retry-after: {hint}")
@pytest.mark.parametrize("hint", ["3", "86400"])
def test_hint_that_is_too_long_is_not_waited_for(hint: str, way: Any) -> None:
    script = each(answer(429, ERROR, [f"retry-after: {hint}"]))
    with RawServer(script) as server, way(server.url, timeout=2) as client:
        error = failure(client, promptlathe.RateLimitError, within=1)
        assert (error.attempts, error.retry_after) == (1, float(hint))


# ---- Bodies -------------------------------------------------------------------------------------


def with_member(text: bytes) -> bytes:
    """A good answer with one more member."""
    return BODY[:-1] + b', "more": ' + text + b"}"


def without(name: str) -> bytes:
    return json.dumps({key: value for key, value in ANSWER.items() if key != name}).encode()


def changed(**members: object) -> bytes:
    return json.dumps({**ANSWER, **members}).encode()


UNUSABLE = {
    "HTML": HTML,
    "empty": b"",
    "white space": b" \r\n\t ",
    "cut in half": BODY[:40],
    "more behind it": BODY + b"{}",
    "null": b"null",
    "a list": b"[" + BODY + b"]",
    "a string": b'"text"',
    "an error body": ERROR,
    "NaN": with_member(b"NaN"),
    "Infinity": with_member(b"Infinity"),
    "1e999": with_member(b"1e999"),
    "an integer beyond 64 bits": with_member(b"9223372036854775808"),
    "a lone surrogate": with_member(rb'"\ud83d"'),
    "a lone surrogate in a key": with_member(rb'{"\ud83d": 1}'),
    "an encoded surrogate": with_member(b'"\xed\xa0\xbd"'),
    "bad UTF-8": with_member(b'"caf\xe9"'),
    "UTF-16": BODY.decode().encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf" + BODY,
    "depth 2,049": with_member(b"[" * 2048 + b"]" * 2048),
    "depth 1,000,000": b'{"a":' * 1_000_000,
    "NUL in a key": with_member(rb'{"a\u0000b": 1}'),
    "a bare NUL": with_member(b'"a\0b"'),
    "no messages": without("messages"),
    "no system": without("system"),
    "no usage": without("usage"),
    "messages of the wrong type": changed(messages={}),
    "a message of the wrong type": changed(messages=["text"]),
    "a role of the wrong type": changed(messages=[{"role": 1, "content": ""}]),
    "content of the wrong type": changed(messages=[{"role": "user", "content": 1}]),
    "a text of the wrong type": changed(
        messages=[{"role": "user", "content": [{"type": "text", "text": None}]}]
    ),
    "system of the wrong type": changed(system=None),
    "usage of the wrong type": changed(usage="text"),
}


@pytest.mark.fault("Body", "200 with {name}")
@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_body(name: str, way: Any) -> None:
    response = answer(body=UNUSABLE[name], headers=[AT_ONCE, "x-should-retry: true"])
    with RawServer(each(response)) as server, way(server.url) as client:
        error = failure(client, APIResponseValidationError)
        assert (error.status_code, error.attempts, server.attempts) == (200, 1, [1])
        assert client.generate(TASK) == ANSWER


PASSING = {
    "NUL in a string": with_member(rb'"a\u0000b"'),
    "the largest integer": with_member(b"9223372036854775807"),
    "unknown members": with_member(b'{"deep": [null]}'),
    "usage as a list": changed(usage=[{"input_tokens": 1}]),
    "content as a string": changed(messages=[{"role": "user", "content": ""}]),
}


@pytest.mark.fault("Body", "200 with {name}")
@pytest.mark.parametrize("name", PASSING)
def test_body_that_passes(name: str, way: Any) -> None:
    body = PASSING[name]
    with RawServer(each(answer(body=body))) as server, way(server.url) as client:
        assert success(client) == json.loads(body)


ODD_ERRORS = {
    "null": b"null",
    "a list": b"[1, null]",
    "error null": b'{"type":"error","error":null,"request_id":null}',
    "error a string": b'{"type":"error","error":"words"}',
    "members of wrong types": b'{"error":{"type":1,"message":[],"details":"x"},"request_id":5}',
    "bad UTF-8": b'{"error":{"type":"caf\xe9"}}',
    "depth 100,000": b'{"error":' * 100_000,
}


@pytest.mark.fault("Body", "500 with {name}")
@pytest.mark.parametrize("name", ODD_ERRORS)
def test_error_with_an_odd_body(name: str, way: Any) -> None:
    response = answer(500, ODD_ERRORS[name], [AT_ONCE])
    with RawServer(each(response, response)) as server, way(server.url) as client:
        error = failure(client, promptlathe.InternalServerError)
        assert (error.status_code, error.attempts, error.request_id) == (500, 2, None)
        assert error.type is None
        assert client.generate(TASK) == ANSWER
