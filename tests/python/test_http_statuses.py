"""Every answer but a 200: its class, its attributes, whether the request is sent again."""

from __future__ import annotations

import email.utils
import json
import pickle
from typing import Any

import promptlathe
import pytest
from one_call import KEY, TASK, client_of, failure, failure_of, fault
from promptlathe import APIError, APIResponseValidationError, APIStatusError, Client
from promptlathe.mock import Server
from statuses import CLASSES, class_of

WITHOUT_BODY = {304}
RETRIED = {408, 409, 429, *range(500, 600)} - {501, 505}
ALL = range(300, 600)

HTML = "<html><body><h1>Gateway</h1>An error, they say.</body></html>"


# ---- Every status -------------------------------------------------------------------------------


@pytest.mark.parametrize("body", [fault(), HTML, b""], ids=["json", "html", "none"])
def test_every_status(promptlathe_server: Server, body: Any) -> None:
    """The class follows from the status alone, and the attributes tell what was received."""
    server = promptlathe_server
    server.script([{"status": n, "body": body, "headers": {"request-id": f"r{n}"}} for n in ALL])
    with client_of(server) as client:
        for status in ALL:
            error = failure_of(client, class_of(status))
            assert isinstance(error, APIStatusError)
            assert error.status_code == status and error.request_id == f"r{status}", status
            assert error.attempts == 1 and error.retry_after is None, status
            assert error.headers["request-id"] == f"r{status}", status
            assert str(status) in str(error) and TASK not in str(error), status
            expected = "" if status in WITHOUT_BODY else body or ""
            assert error.body == expected, status
            known = expected == fault()
            assert error.type == ("invalid_request_error" if known else None), status
            assert error.message == ("not so" if known else str(error)), status
    assert len(server.requests) == len(ALL)


def test_which_statuses_are_retried(promptlathe_server: Server) -> None:
    """A retried status costs a second request, any other one does not."""
    step = {"headers": {"retry-after-ms": "1"}, "body": HTML}
    with client_of(promptlathe_server, max_retries=1) as client:
        for status in ALL:
            promptlathe_server.reset()
            promptlathe_server.script([{**step, "status": status}] * 2)
            error = failure_of(client)
            attempts = 2 if status in RETRIED else 1
            assert (error.attempts, len(promptlathe_server.requests)) == (attempts, attempts), (
                status
            )


def test_a_retry_that_is_answered_gives_the_result(promptlathe_server: Server) -> None:
    again = {"headers": {"retry-after-ms": "1"}}
    promptlathe_server.script([{**again, "status": 503}, {**again, "status": 429}])
    with client_of(promptlathe_server, max_retries=2) as client:
        raw = client.with_raw_response.generate(TASK)
    assert raw.status == 200 and raw.attempts == 3 and raw.data["messages"]
    numbers = [r.headers["x-promptlathe-attempt"] for r in promptlathe_server.requests]
    assert numbers == ["1", "2", "3"]
    bodies = {r.body for r in promptlathe_server.requests}
    assert len(bodies) == 1


@pytest.mark.parametrize(
    ("status", "told", "attempts"),
    [
        (400, "true", 2), (404, "true", 2), (302, "true", 2), (501, "true", 2), (505, "true", 2),
        (500, "false", 1), (429, "false", 1), (529, "false", 1), (408, "false", 1),
        (500, "perhaps", 2), (400, "perhaps", 1), (500, "", 2), (400, "1", 1),
    ],
)  # fmt: skip
def test_x_should_retry_wins_over_the_status(
    promptlathe_server: Server, status: int, told: str, attempts: int
) -> None:
    step = {"status": status, "headers": {"x-should-retry": told, "retry-after-ms": "1"}}
    promptlathe_server.script([step] * 3)
    with client_of(promptlathe_server, max_retries=1) as client:
        assert failure_of(client).attempts == attempts


def test_x_should_retry_does_not_make_an_unusable_answer_retried(
    promptlathe_server: Server,
) -> None:
    step = {"status": 202, "headers": {"x-should-retry": "true", "retry-after-ms": "1"}}
    failure(promptlathe_server, step, APIResponseValidationError, max_retries=3)
    assert len(promptlathe_server.requests) == 1


@pytest.mark.parametrize(
    ("code", "attempts"),
    [
        ("enforced_spend_limit_reached", 1),
        ("contract_spend_limit_reached", 1),
        ("something_else", 2),
        (None, 2),
        (7, 2),
    ],
)
def test_a_spend_limit_is_not_waited_for(
    promptlathe_server: Server, code: Any, attempts: int
) -> None:
    body = fault("rate_limit_error", "slower")
    body["error"]["details"] = {"error_code": code}
    headers = {"retry-after-ms": "1", "x-should-retry": "true"}
    promptlathe_server.script([{"status": 429, "body": body, "headers": headers}] * 2)
    with client_of(promptlathe_server, max_retries=1) as client:
        error = failure_of(client, promptlathe.RateLimitError)
    assert error.attempts == attempts and error.body == body


def test_no_retries_and_many(promptlathe_server: Server) -> None:
    steps = [{"status": 500, "headers": {"retry-after-ms": "1"}}] * 20
    for retries in (0, 1, 7):
        promptlathe_server.reset()
        promptlathe_server.script(steps)
        with client_of(promptlathe_server, max_retries=retries) as client:
            assert failure_of(client).attempts == retries + 1
        assert len(promptlathe_server.requests) == retries + 1


def test_the_number_of_attempts_stands_in_the_message(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 500, "headers": {"retry-after-ms": "1"}}] * 2)
    with client_of(promptlathe_server, max_retries=1) as client:
        assert "2 attempts" in str(failure_of(client))


@pytest.mark.timing
def test_backoff_without_a_hint(promptlathe_server: Server) -> None:
    """The first pause is half a second, less up to a quarter."""
    promptlathe_server.script([{"status": 500}, None])
    with client_of(promptlathe_server, max_retries=1) as client:
        client.generate(TASK)
    first, second = (request.time for request in promptlathe_server.requests)
    assert 0.37 <= second - first < 2.0


# ---- Redirects ----------------------------------------------------------------------------------


@pytest.mark.valgrind
@pytest.mark.parametrize("status", range(301, 309))
def test_redirects_are_not_followed(promptlathe_server: Server, status: int) -> None:
    with Server() as elsewhere:
        target = f"{elsewhere.url}/v1/experimental/generate_prompt"
        error = failure(
            promptlathe_server, {"status": status, "headers": {"Location": target}}, max_retries=2
        )
        assert type(error) is APIStatusError
        assert error.location == target and target in str(error)
        assert error.status_code == status and error.attempts == 1
        assert elsewhere.connections == 0
    assert len(promptlathe_server.requests) == 1


def test_a_redirect_without_or_with_a_relative_target(promptlathe_server: Server) -> None:
    assert failure(promptlathe_server, {"status": 307}, APIStatusError).location is None
    step = {"status": 307, "headers": {"location": "/elsewhere"}}
    assert failure(promptlathe_server, step, APIStatusError).location == "/elsewhere"
    assert len(promptlathe_server.requests) == 2


def test_a_location_without_a_redirect_is_only_a_header(promptlathe_server: Server) -> None:
    step = {"status": 400, "headers": {"location": "http://127.0.0.1:9/"}}
    error = failure(promptlathe_server, step, promptlathe.BadRequestError)
    assert error.location is None and error.headers["location"] == "http://127.0.0.1:9/"


# ---- Other successes ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [201, 202, 203, 204, 205, 206, 207, 226, 299])
def test_another_success_cannot_be_used(promptlathe_server: Server, status: int) -> None:
    error = failure(
        promptlathe_server,
        {"status": status, "headers": {"request-id": "r", "retry-after": "1"}},
        APIResponseValidationError,
        max_retries=2,
    )
    assert error.status_code == status and str(status) in str(error)
    assert error.request_id == "r" and error.attempts == 1
    assert len(promptlathe_server.requests) == 1


# ---- The vendor's retired endpoints -------------------------------------------------------------


def of_vendor(server: Server, step: dict[str, Any], path: str = "") -> APIStatusError:
    """The error when the vendor's own host answers so, for which the server stands in as a proxy."""
    server.script([step] * 2)
    with Client(
        KEY,
        base_url=f"http://api.anthropic.com{path}",
        proxy=server.url,
        allow_http=True,
        max_retries=1,
    ) as client:
        error = failure_of(client)
    assert isinstance(error, APIStatusError)
    return error


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, fault("not_found_error")),
        (404, HTML),
        (404, b""),
        (410, b""),
        (410, fault("gone")),
        (400, fault("not_found_error")),
        (500, fault("not_found_error")),
    ],
)
def test_the_vendor_retired_its_endpoints(
    promptlathe_server: Server, status: int, body: Any
) -> None:
    """The message tells the day and what to do; trying again is of no use."""
    headers = {"x-should-retry": "true", "retry-after-ms": "1"}
    error = of_vendor(promptlathe_server, {"status": status, "body": body, "headers": headers})
    assert type(error) is promptlathe.EndpointRetiredError
    assert isinstance(error, promptlathe.NotFoundError) and error.status_code == status
    assert "2026-08-17" in str(error) and "base_url" in str(error)
    assert error.attempts == 1 and len(promptlathe_server.requests) == 1


def test_other_errors_of_the_vendor_and_other_hosts(promptlathe_server: Server) -> None:
    step = {"status": 401, "body": fault("authentication_error")}
    assert type(of_vendor(promptlathe_server, step)) is promptlathe.AuthenticationError
    gone = {"status": 404, "body": fault("not_found_error")}
    assert type(of_vendor(promptlathe_server, gone, "/gateway")) is promptlathe.NotFoundError
    failure(promptlathe_server, gone, promptlathe.NotFoundError)


# ---- When to come back --------------------------------------------------------------------------

NOW = "Thu, 01 Jan 2026 00:00:00 GMT"
HINTS: list[tuple[dict[str, str], float | None]] = [
    ({"retry-after": "1"}, 1.0),
    ({"retry-after": "1.5"}, 1.5),
    ({"retry-after": ".5"}, 0.5),
    ({"retry-after": "5."}, 5.0),
    ({"retry-after": "  7  "}, 7.0),
    ({"retry-after": "007"}, 7.0),
    ({"retry-after": "86400"}, 86400.0),
    ({"retry-after": "0"}, None),
    ({"retry-after": "0.0"}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "-0"}, None),
    ({"retry-after": "+1"}, None),
    ({"retry-after": ""}, None),
    ({"retry-after": "."}, None),
    ({"retry-after": "1,5"}, None),
    ({"retry-after": "1 2"}, None),
    ({"retry-after": "1e3"}, None),
    ({"retry-after": "0x10"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "Infinity"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "9" * 400}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": "tomorrow"}, None),
    ({"retry-after": "1s"}, None),
    ({"retry-after": "١"}, None),
    ({"retry-after-ms": "250"}, 0.25),
    ({"retry-after-ms": "0.5"}, 0.0005),
    ({"retry-after-ms": "1500.5"}, 1.5005),
    ({"retry-after-ms": "0"}, None),
    ({"retry-after-ms": "-5"}, None),
    ({"retry-after-ms": "nan"}, None),
    ({"retry-after-ms": "inf"}, None),
    ({"retry-after-ms": "9" * 400}, None),
    ({"retry-after-ms": NOW}, None),
    ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
    ({"retry-after-ms": "0", "retry-after": "3"}, 3.0),
    ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
    ({"retry-after-ms": "", "retry-after": "3"}, 3.0),
    ({"retry-after-ms": "250", "retry-after": "soon"}, 0.25),
    ({"retry-after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": NOW}, 9.0),
    ({"retry-after": "Thursday, 01-Jan-26 00:00:09 GMT", "date": NOW}, 9.0),
    ({"retry-after": "Thu Jan  1 00:00:09 2026", "date": NOW}, 9.0),
    ({"retry-after": "Wed, 31 Dec 2025 23:59:59 GMT", "date": NOW}, None),
    ({"retry-after": NOW, "date": NOW}, None),
    ({"retry-after": "Fri, 02 Jan 2026 00:00:00 GMT", "date": NOW}, 86400.0),
    ({"retry-after": "Sun, 06 Nov 1994 08:49:37 GMT"}, None),
    ({"retry-after": "Xyz, 99 Foo 2026 00:00:09 GMT", "date": NOW}, None),
    ({"retry-after-ms": "no", "retry-after": "Thu, 01 Jan 2026 00:00:09 GMT", "date": NOW}, 9.0),
]  # fmt: skip


@pytest.mark.parametrize(("headers", "expected"), HINTS, ids=lambda value: str(value)[:60])
def test_every_form_of_the_hints(
    promptlathe_server: Server, headers: dict[str, str], expected: float | None
) -> None:
    lines = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
    raw = b"HTTP/1.1 429 Slower\r\n" + lines + b"content-length: 0\r\n\r\n"
    error = failure(promptlathe_server, {"raw": raw}, promptlathe.RateLimitError)
    assert error.retry_after == (None if expected is None else pytest.approx(expected))


def test_a_date_without_the_service_s_own_clock(promptlathe_server: Server) -> None:
    """Then this machine's clock tells how long it is until that date."""
    import time

    then = email.utils.formatdate(time.time() + 3600, usegmt=True)
    step = {"status": 429, "headers": {"retry-after": then}}
    error = failure(promptlathe_server, step, promptlathe.RateLimitError)
    assert error.retry_after is not None and 3590 < error.retry_after <= 3601


@pytest.mark.timing
@pytest.mark.parametrize(
    ("headers", "pause"),
    [({"retry-after-ms": "60"}, 0.06), ({"retry-after": "0.06"}, 0.06)],
)
def test_a_hint_is_slept_and_no_less(
    promptlathe_server: Server, headers: dict[str, str], pause: float
) -> None:
    promptlathe_server.script([{"status": 429, "headers": headers}, None])
    with client_of(promptlathe_server, max_retries=1) as client:
        client.generate(TASK)
    first, second = (request.time for request in promptlathe_server.requests)
    assert pause * 0.95 <= second - first < pause + 0.35  # up to a fifth more, and a busy machine


@pytest.mark.parametrize(
    ("hint", "timeout"), [("86400", 600.0), ("121", 600.0), ("30", 20.0), ("20.5", 20.0)]
)
def test_a_hint_that_is_too_long_is_not_slept(
    promptlathe_server: Server, hint: str, timeout: float
) -> None:
    """Beyond two minutes or the deadline the error comes at once and says how long."""
    step = {"status": 503, "headers": {"retry-after": hint}}
    promptlathe_server.script([step] * 2)
    with client_of(promptlathe_server, max_retries=2) as client:
        with pytest.raises(promptlathe.InternalServerError) as caught:
            client.generate(TASK, timeout=timeout)
    assert caught.value.retry_after == float(hint) and caught.value.attempts == 1
    assert len(promptlathe_server.requests) == 1


def test_a_hint_on_a_final_error_is_told_too(promptlathe_server: Server) -> None:
    step = {"status": 400, "headers": {"retry-after": "5"}}
    assert failure(promptlathe_server, step, max_retries=2).retry_after == 5.0


# ---- Error bodies -------------------------------------------------------------------------------

STRANGE: list[Any] = [
    {"error": None},
    {"error": "words"},
    {"error": []},
    {"error": [{"type": "a", "message": "b"}]},
    {"error": {}},
    {"error": {"type": None, "message": None}},
    {"error": {"type": 1, "message": 2}},
    {"error": {"type": {}, "message": []}},
    {"error": {"type": True, "message": 1.5}},
    {"type": "error"},
    {"request_id": None},
    {"request_id": 5, "error": {"type": [], "details": "x"}},
    {"error": {"details": None}},
    {"error": {"details": {"error_code": None}}},
    {},
    [],
    [1, "two", None],
]


@pytest.mark.parametrize("body", STRANGE, ids=json.dumps)
@pytest.mark.parametrize("status", [400, 429, 529])
def test_bodies_with_null_or_wrong_types(
    promptlathe_server: Server, body: Any, status: int
) -> None:
    step = {"status": status, "body": body, "headers": {"request-id": None}}
    error = failure(promptlathe_server, step, CLASSES[status])
    assert error.body == body and error.type is None and error.request_id is None
    assert error.message == str(error)


@pytest.mark.valgrind
@pytest.mark.parametrize(
    ("body", "parsed"),
    [
        (b"null", None), (b"true", True), (b"12", 12), (b'"words"', "words"), (b"1.5", 1.5),
        (b" {} ", {}),
    ],
)  # fmt: skip
def test_any_json_is_parsed(promptlathe_server: Server, body: bytes, parsed: Any) -> None:
    error = failure(promptlathe_server, {"status": 400, "body": body}, promptlathe.BadRequestError)
    assert error.body == parsed and type(error.body) is type(parsed)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"not { json", "not { json"),
        (b"{}{}", "{}{}"),
        (b'{"a": NaN}', '{"a": NaN}'),
        (b'{"a": 1e999}', '{"a": 1e999}'),
        (b'{"a": 99999999999999999999}', '{"a": 99999999999999999999}'),
        (b'{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        (b'{"\\u0000": 1}', '{"\\u0000": 1}'),
        (b"\xef\xbb\xbf{}", "\ufeff{}"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "caf\ufffd"),
        (b"a\x00b", "a\x00b"),
        (b"[" * 3000 + b"]" * 3000, "[" * 3000 + "]" * 3000),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_no_json_is_text(promptlathe_server: Server, body: bytes, text: str) -> None:
    error = failure(promptlathe_server, {"status": 500, "body": body})
    assert isinstance(error, promptlathe.InternalServerError)
    assert error.body == text and error.type is None


def test_a_nul_in_the_strings_of_an_error(promptlathe_server: Server) -> None:
    body = fault("odd\0type", "before\0after")
    error = failure(promptlathe_server, {"status": 400, "body": body}, promptlathe.BadRequestError)
    assert error.body == body and error.message == "before\0after"


KEPT = 64 << 10


@pytest.mark.parametrize("unit", ["x", "é", "€", "😀"])
def test_a_large_text_is_cut_between_characters(promptlathe_server: Server, unit: str) -> None:
    text = "-" + unit * ((1 << 20) // len(unit.encode()))
    error = failure(promptlathe_server, {"status": 502, "body": text})
    assert isinstance(error, promptlathe.InternalServerError)
    size = len(error.body.encode())
    assert KEPT - 4 < size <= KEPT and text.startswith(error.body)


def test_a_large_json_body_is_cut_text_but_its_members_are_read(
    promptlathe_server: Server,
) -> None:
    body = {**fault("api_error", "too much"), "padding": "x" * (1 << 20)}
    step = {"status": 500, "body": body, "headers": {"request-id": None}}
    error = failure(promptlathe_server, step, promptlathe.InternalServerError)
    assert isinstance(error.body, str) and len(error.body) == KEPT
    assert error.type == "api_error" and error.request_id == "req_body"


def test_a_body_of_just_the_kept_size_is_still_parsed(promptlathe_server: Server) -> None:
    for size, kind in ((KEPT, dict), (KEPT + 1, str)):
        text = json.dumps({"a": ""})
        body = json.dumps({"a": "x" * (size - len(text))})
        error = failure(promptlathe_server, {"status": 500, "body": body})
        assert isinstance(error, promptlathe.InternalServerError)
        assert type(error.body) is kind


def test_a_body_beyond_the_ceiling_ends_the_call(promptlathe_server: Server) -> None:
    step = {"status": 500, "body": "x" * 5000}
    error = failure(
        promptlathe_server, step, APIResponseValidationError, max_retries=2, max_response_bytes=4999
    )
    assert "4999" in str(error) and len(promptlathe_server.requests) == 1


def test_the_request_id_comes_from_the_header_else_from_the_body(
    promptlathe_server: Server,
) -> None:
    for header, expected in (("req_header", "req_header"), (None, "req_body")):
        step = {"status": 400, "body": fault(), "headers": {"request-id": header}}
        assert failure(promptlathe_server, step, promptlathe.BadRequestError).request_id == expected


def test_headers_are_a_dict_of_lower_case_names(promptlathe_server: Server) -> None:
    raw = (
        b"HTTP/1.1 400 Bad\r\nX-One: 1\r\nx-oNe:  2 \r\nSet-Cookie: a=b\r\nX-Empty:\r\n"
        b"X-Latin: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    )
    error = failure(promptlathe_server, {"raw": raw}, promptlathe.BadRequestError)
    assert error.headers == {
        "x-one": "1, 2",
        "set-cookie": "a=b",
        "x-empty": "",
        "x-latin": "café",
        "content-length": "0",
    }
    assert type(error.headers) is dict


# ---- What the message says ----------------------------------------------------------------------


def test_the_message_holds_the_service_s_words(promptlathe_server: Server) -> None:
    body = fault("overloaded_error", "Come back after lunch")
    error = failure(promptlathe_server, {"status": 529, "body": body}, promptlathe.OverloadedError)
    assert "overloaded_error" in str(error) and "Come back after lunch" in str(error)
    assert error.message == "Come back after lunch"


def test_a_long_message_is_cut_in_str_alone(promptlathe_server: Server) -> None:
    words = "Überlang " * 400
    body = fault(message=words)
    error = failure(promptlathe_server, {"status": 400, "body": body}, promptlathe.BadRequestError)
    assert error.message == words and len(str(error)) < 700 and "Überlang Über" in str(error)


def quoting(server: Server, words: str, task: str) -> APIStatusError:
    server.script([{"status": 400, "body": fault(message=words)}])
    with client_of(server) as client, pytest.raises(APIStatusError) as caught:
        client.generate(task)
    return caught.value


@pytest.mark.valgrind
@pytest.mark.parametrize(
    ("task", "words"),
    [
        (TASK, f"task: cannot handle {TASK!r}"),
        ("Dear Ms Zeppelin", "rejected: Dear Ms Zeppelin"),
        ("opal7", "the word opal7 is not allowed"),
        ("opal7", 'bad task "opal7"'),
        ('a "b" c "d" e "f" g', 'the task a "b" c "d" e "f" g is bad'),
        ("one\ntwo\nsix\nten", "no: one\ntwo\nsix\nten"),
        ("schön und größer", "nicht erlaubt: schön und größer"),
        ("привет", "запрещено: привет"),
        ("你好世界", "不行:你好世界"),
        ("a very long secret " * 50, "cannot: " + "a very long secret " * 50),
        ("x" * 300 + "the secret is out", "y" * 300 + " the secret is out"),
    ],
    ids=lambda value: value[:20],
)
def test_str_never_quotes_the_request(promptlathe_server: Server, task: str, words: str) -> None:
    """Not even when the service's own message does; that one is in `.message` and `.body`."""
    error = quoting(promptlathe_server, words, task)
    for shown in (str(error), repr(error), str(error.args)):
        assert task[:20] not in shown and task[-20:] not in shown
    assert "400" in str(error) and error.message == words
    assert error.body["error"]["message"] == words


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("hello", "target_model: no such model"),
        ("a", "a value is missing"),
        ("the", "there is a fault in the user message"),
        ("messages and such", "role: must be user or assistant"),
    ],
)
def test_words_that_any_message_has_are_no_quotation(
    promptlathe_server: Server, task: str, words: str
) -> None:
    assert words in str(quoting(promptlathe_server, words, task))


def test_names_of_members_are_no_quotation(promptlathe_server: Server) -> None:
    words = "target_model: there is no such model"
    promptlathe_server.script([{"status": 400, "body": fault(message=words)}])
    with client_of(promptlathe_server) as client, pytest.raises(APIStatusError, match=words):
        client.generate(TASK, target_model="small")


def test_a_quoting_type_is_not_shown(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"status": 400, "body": fault(f"no {TASK}", "hm")}])
    with client_of(promptlathe_server) as client:
        error = failure_of(client, promptlathe.BadRequestError)
    assert TASK[:20] not in str(error) and error.type == f"no {TASK}"


# ---- What an error is ---------------------------------------------------------------------------


@pytest.mark.valgrind
def test_errors_pickle_and_copy(promptlathe_server: Server) -> None:
    import copy

    body = {**fault(), "more": [1, 2.5, None, True]}
    headers = {"retry-after": "3", "location": "/x"}
    for status in (307, 400, 404, 429, 500, 529):
        error = failure(promptlathe_server, {"status": status, "body": body, "headers": headers})
        protocols = range(2, pickle.HIGHEST_PROTOCOL + 1)
        twins = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
        for twin in [*twins, copy.copy(error), copy.deepcopy(error)]:
            assert type(twin) is type(error) and str(twin) == str(error)
            assert twin.args == error.args and twin.__dict__ == error.__dict__


def test_every_class_has_its_place() -> None:
    for kind in [*CLASSES.values(), promptlathe.InternalServerError]:
        assert issubclass(kind, APIStatusError) and issubclass(kind, APIError)
    assert issubclass(promptlathe.OverloadedError, promptlathe.InternalServerError)
    assert issubclass(promptlathe.EndpointRetiredError, promptlathe.NotFoundError)
