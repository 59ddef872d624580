"""What a 200 may hold: the documented shape passes as it is, anything else is one class of error."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from one_call import TASK, client_of, failure
from promptlathe import APIResponseValidationError, Client
from promptlathe.mock import Server

USER = {"role": "user", "content": [{"type": "text", "text": "Hello"}]}
GOOD: dict[str, Any] = {"messages": [USER], "system": "", "usage": {}}
FULL: dict[str, Any] = {**GOOD, "variable_values": {"NAME": "value"}}


def unusable(server: Server, body: Any, **options: Any) -> APIResponseValidationError:
    """The error that a 200 with this body ends in: with all that a report to the service needs."""
    before = len(server.requests)
    step = {"status": 200, "body": body, "headers": {"request-id": "req_1"}}
    error = failure(server, step, APIResponseValidationError, max_retries=2, **options)
    assert len(server.requests) == before + 1  # not sent again
    assert (error.status_code, error.attempts, error.request_id) == (200, 1, "req_1")
    assert error.headers["request-id"] == "req_1" and TASK not in str(error)
    return error


def answered(server: Server, body: Any, call: Callable[[Client], Any] | None = None) -> Any:
    """What comes back when the service answers a generate with this body."""
    server.script([{"status": 200, "body": body}])
    with client_of(server) as client:
        return call(client) if call else client.generate(TASK)


def with_member(text: str) -> bytes:
    """A good answer with one more member, given as JSON text."""
    return json.dumps(GOOD)[:-1].encode() + b', "more": ' + text.encode("utf-8") + b"}"


# ---- Not JSON -----------------------------------------------------------------------------------

DEEP = "[" * 2049 + "]" * 2049

NO_JSON: list[tuple[str, bytes, str]] = [
    ("html", b"<html><body>Please log in</body></html>", "syntax"),
    ("empty", b"", "empty"),
    ("white space", b" \r\n\t ", "too early"),
    ("cut", b'{"messages": [', "too early"),
    ("cut in a string", b'{"messages": "ab', "too early"),
    ("more behind", json.dumps(GOOD).encode() + b"{}", "after its end"),
    ("single quotes", b"{'messages': []}", "syntax"),
    ("trailing comma", b'{"messages": [],}', "syntax"),
    ("comment", json.dumps(GOOD).encode() + b' // "no"', "after its end"),
    ("NaN", with_member("NaN"), "syntax"),
    ("Infinity", with_member("Infinity"), "syntax"),
    ("-Infinity", with_member("-Infinity"), "syntax"),
    ("1e999", with_member("1e999"), "out of range"),
    ("-1e999", with_member("-1e999"), "out of range"),
    ("beyond 64 bits", with_member("9223372036854775808"), "64 bits"),
    ("below 64 bits", with_member("-9223372036854775809"), "64 bits"),
    ("leading zero", with_member("01"), "syntax"),
    ("plus sign", with_member("+1"), "syntax"),
    ("high surrogate alone", with_member(r'"\ud83d"'), "lone surrogate"),
    ("low surrogate alone", with_member(r'"\ude00"'), "lone surrogate"),
    ("surrogates in the wrong order", with_member(r'"\ude00\ud83d"'), "lone surrogate"),
    ("surrogate in a key", with_member(r'{"\ud83d": 1}'), "lone surrogate"),
    ("encoded surrogate", json.dumps(GOOD)[:-1].encode() + b', "m": "\xed\xa0\xbd"}', "UTF-8"),
    ("bad UTF-8", json.dumps(GOOD)[:-1].encode() + b', "m": "caf\xe9"}', "UTF-8"),
    ("overlong UTF-8", json.dumps(GOOD)[:-1].encode() + b', "m": "\xc0\xaf"}', "UTF-8"),
    ("cut UTF-8", json.dumps(GOOD)[:-1].encode() + b', "m": "\xe2\x82"}', "UTF-8"),
    ("UTF-16", json.dumps(GOOD).encode("utf-16"), "syntax"),
    ("BOM", b"\xef\xbb\xbf" + json.dumps(GOOD).encode(), "byte order mark"),
    ("bare newline in a string", with_member('"a\nb"'), "syntax"),
    ("bare NUL in a string", with_member('"a\0b"'), "syntax"),
    ("NUL in a key", with_member(r'{"a\u0000b": 1}'), "NUL character in a key"),
    ("deep", with_member(DEEP[1:-1]), "2,048"),
    ("very deep", json.dumps(GOOD)[:-1].encode() + b', "m":' + b"[" * 1_000_000, "2,048"),
    ("very deep objects", b'{"a":' * 500_000, "2,048"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "why"), [row[1:] for row in NO_JSON], ids=[r[0] for r in NO_JSON])
def test_what_is_no_json(promptlathe_server: Server, body: bytes, why: str) -> None:
    """The error says what is wrong and shows how the body begins."""
    error = unusable(promptlathe_server, body)
    assert why in str(error) and "JSON" in str(error)
    assert error.body == body[: 64 << 10].decode("utf-8", "replace")


def test_the_place_of_a_fault_is_told(promptlathe_server: Server) -> None:
    error = unusable(promptlathe_server, b'{"messages": [],\n "system": oops}')
    assert "line 2" in str(error) and "byte" in str(error)


# ---- JSON of the wrong shape --------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["null", "true", "1", "1.5", '"text"', "[]", json.dumps([GOOD]), "{}"]
)
def test_json_that_is_no_answer(promptlathe_server: Server, body: str) -> None:
    error = unusable(promptlathe_server, body)
    assert "shape" in str(error) and error.body == json.loads(body)


def test_an_error_body_with_status_200(promptlathe_server: Server) -> None:
    """It is no success; its request id counts when no header has one."""
    body = {"type": "error", "error": {"type": "api_error", "message": "x"}, "request_id": "req_b"}
    error = unusable(promptlathe_server, body)
    assert "error of the service" in str(error) and error.body == body
    step = {"status": 200, "body": body, "headers": {"request-id": None}}
    assert failure(promptlathe_server, step, APIResponseValidationError).request_id == "req_b"


def test_an_answer_with_a_member_named_error_passes(promptlathe_server: Server) -> None:
    body = {**GOOD, "error": {"type": "x"}, "type": "error"}
    assert answered(promptlathe_server, body) == body


WRONG: dict[str, list[Any]] = {
    "messages": [None, True, 1, 1.5, "text", {}],
    "messages.0": [None, True, 1, "text", []],
    "messages.0.role": [None, True, 1, [], {}],
    "messages.0.content": [None, True, 1, 1.5, {}],
    "messages.0.content.0": [None, True, 1, "text", []],
    "messages.0.content.0.type": [None, True, 1, [], {}],
    "messages.0.content.0.text": [None, True, 1, [], {}],
    "system": [None, True, 1, [], {}],
    "usage": [None, True, 1, 1.5, "text"],
}
VALUES: dict[str, list[Any]] = {
    "variable_values": [None, True, 1, "text", []],
    "variable_values.NAME": [None, True, 1, 1.5, [], {}],
}


def replaced(answer: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """A copy of the answer with another value at the path; `...` takes the member away."""
    copy: dict[str, Any] = json.loads(json.dumps(answer))
    at: Any = copy
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        at = at[part]
    if value is ...:
        del at[last]
    else:
        at[last] = value
    return copy


@pytest.mark.valgrind
@pytest.mark.parametrize("path", WRONG)
def test_members_of_the_wrong_type(promptlathe_server: Server, path: str) -> None:
    for value in WRONG[path]:
        error = unusable(promptlathe_server, replaced(GOOD, path, value))
        assert f" {path} must be" in str(error), value


@pytest.mark.valgrind
@pytest.mark.parametrize(
    "path",
    [
        "messages", "system", "usage", "messages.0.role", "messages.0.content",
        "messages.0.content.0.type", "messages.0.content.0.text",
    ],
)  # fmt: skip
def test_members_that_are_missing(promptlathe_server: Server, path: str) -> None:
    error = unusable(promptlathe_server, replaced(GOOD, path, ...))
    assert f" {path} is missing" in str(error)


def test_faults_behind_good_messages_have_their_place(promptlathe_server: Server) -> None:
    blocks = [{"type": "text", "text": ""}, {"type": "text", "text": 5}]
    body = {**GOOD, "messages": [USER, USER, {"role": "assistant", "content": blocks}]}
    assert "messages.2.content.1.text must be" in str(unusable(promptlathe_server, body))


def templatized(client: Client) -> Any:
    return client.templatize("Hello")


@pytest.mark.parametrize("path", VALUES)
def test_variable_values_of_the_wrong_type(promptlathe_server: Server, path: str) -> None:
    for value in VALUES[path]:
        with pytest.raises(APIResponseValidationError) as caught:
            answered(promptlathe_server, replaced(FULL, path, value), templatized)
        assert "variable_values" in str(caught.value) and "must be" in str(caught.value)


def test_variable_values_are_templatize_s_alone(promptlathe_server: Server) -> None:
    """Missing there is a fault; elsewhere the member is unknown and passes, whatever it holds."""
    with pytest.raises(APIResponseValidationError, match="variable_values is missing"):
        answered(promptlathe_server, GOOD, templatized)
    for value in (None, 1, [], {"a": 1}):
        body = {**GOOD, "variable_values": value}
        assert answered(promptlathe_server, body) == body


# ---- What passes, exactly as it was sent --------------------------------------------------------

PASSING: dict[str, dict[str, Any]] = {
    "usage as an object": {**GOOD, "usage": {"input_tokens": 1, "more": {"deep": [None]}}},
    "usage as a list": {**GOOD, "usage": [{"input_tokens": 1}, 5, None]},
    "usage empty": {**GOOD, "usage": []},
    "no messages": {**GOOD, "messages": []},
    "content as a string": {**GOOD, "messages": [{"role": "user", "content": "plain"}]},
    "content as an empty string": {**GOOD, "messages": [{"role": "user", "content": ""}]},
    "no blocks": {**GOOD, "messages": [{"role": "user", "content": []}]},
    "empty text": replaced(GOOD, "messages.0.content.0.text", ""),
    "prefill": {**GOOD, "messages": [USER, {"role": "assistant", "content": "{"}]},
    "another role": {**GOOD, "messages": [{"role": "tool", "content": "x"}]},
    "another block": {
        **GOOD,
        "messages": [{"role": "user", "content": [{"type": "image", "source": {"data": "x"}}]}],
    },
    "another block with any text": {
        **GOOD,
        "messages": [{"role": "user", "content": [{"type": "thinking", "text": 5}]}],
    },
    "an empty type": replaced(GOOD, "messages.0.content.0.type", ""),
    "text before type": {
        **GOOD,
        "messages": [{"content": [{"text": "first", "type": "text"}], "role": "user"}],
    },
    "a system prompt": {**GOOD, "system": "You are a poet."},
    "unknown members": {
        **GOOD,
        "id": "x",
        "n": None,
        "messages": [{**USER, "id": 7, "content": [{"type": "text", "text": "a", "extra": []}]}],
    },
    "members in another order": {"usage": {}, "system": "", "messages": [USER]},
    "an empty key": {**GOOD, "": 1, "usage": {"": {"": ""}}},
    "names of members elsewhere": {**GOOD, "usage": {"messages": 1, "system": 2, "role": 3}},
}


@pytest.mark.valgrind
@pytest.mark.parametrize("body", PASSING.values(), ids=PASSING.keys())
def test_what_passes(promptlathe_server: Server, body: dict[str, Any]) -> None:
    result = answered(promptlathe_server, body)
    assert result == body and list(result) == list(body)
    assert_exact_types(result)


def assert_exact_types(value: Any) -> None:
    """Only the builtin types themselves, all the way down."""
    assert type(value) in (dict, list, str, int, float, bool, type(None))
    if type(value) is dict:
        for key, member in value.items():
            assert type(key) is str
            assert_exact_types(member)
    if type(value) is list:
        for item in value:
            assert_exact_types(item)


@pytest.mark.parametrize(
    "number",
    [
        "0", "-0", "1", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808",
        "0.0", "-0.0", "0.1", "1.0", "1e2", "1E+2", "1e-2", "2.5e-324", "1e-400",
        "1.7976931348623157e308", "0.30000000000000004", "3.141592653589793238462643",
        "123456789012345678.5", "true", "false", "null",
    ],
)  # fmt: skip
def test_numbers_survive_exactly(promptlathe_server: Server, number: str) -> None:
    value = answered(promptlathe_server, with_member(number))["more"]
    expected = json.loads(number)
    assert value == expected and type(value) is type(expected)
    if type(value) is float:
        assert math.copysign(1, value) == math.copysign(1, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r'"a\u0000b"', "a\0b"),
        (r'"\u0000"', "\0"),
        (r'"\ud83d\ude00"', "😀"),
        ('"😀é漢"', "😀é漢"),
        (r'"\/\"\\\b\f\n\r\t"', '/"\\\b\f\n\r\t'),
        (r'"\u00e9\u007f\u2028"', "é\x7f\u2028"),
        ('"\x7f\u2028\ufffe\uffff"', "\x7f\u2028\ufffe\uffff"),
        ('"\U0010ffff"', "\U0010ffff"),
        (r'"{{NAME}} \\n"', "{{NAME}} \\n"),
    ],
)
def test_text_survives_exactly(promptlathe_server: Server, text: str, expected: str) -> None:
    body = with_member(f'[{text}, {{"k": {text}}}]')
    assert answered(promptlathe_server, body)["more"] == [expected, {"k": expected}]
    message = json.dumps(GOOD).replace('"Hello"', text)
    result = answered(promptlathe_server, message.encode("utf-8"))
    assert result["messages"][0]["content"][0]["text"] == expected


def test_unicode_keys_survive(promptlathe_server: Server) -> None:
    body = {**GOOD, "usage": {"é": 1, "漢字": 2, "😀": 3, "a b": 4}}
    assert answered(promptlathe_server, body) == body


def test_2048_levels_pass(promptlathe_server: Server) -> None:
    """The answer itself is the first level."""
    inner = "[" * 2047 + "]" * 2047
    value = answered(promptlathe_server, with_member(inner))["more"]
    depth = 0
    while value:
        value, depth = value[0], depth + 1
    assert depth == 2046  # and the innermost, empty list
    unusable(promptlathe_server, with_member(f"[{inner}]"))


def test_the_last_of_equal_keys_counts(promptlathe_server: Server) -> None:
    """As in Python's own reader; the count of members stays right."""
    body = with_member('{"a": 1, "b": 2, "a": 3}')
    assert answered(promptlathe_server, body)["more"] == {"a": 3, "b": 2}
    twice = b'{"system": "first",' + json.dumps({**GOOD, "system": "last"})[1:].encode()
    assert answered(promptlathe_server, twice)["system"] == "last"


def test_white_space_around_passes(promptlathe_server: Server) -> None:
    body = b" \r\n\t" + json.dumps(GOOD, indent=4).encode() + b"\n\n"
    assert answered(promptlathe_server, body) == GOOD


@pytest.mark.parametrize("content_type", ["text/html", "text/plain; charset=utf-16", "", None])
def test_the_body_counts_and_not_its_content_type(
    promptlathe_server: Server, content_type: str | None
) -> None:
    step = {"body": json.dumps(GOOD), "headers": {"content-type": content_type}}
    promptlathe_server.script([step])
    with client_of(promptlathe_server) as client:
        assert client.generate(TASK) == GOOD


# ---- Sizes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["x", "é", '"\n', "\0", "😀"], ids=ascii)
def test_answers_of_megabytes(promptlathe_server: Server, unit: str) -> None:
    text = unit * (4 << 20 >> 2)
    body = replaced(GOOD, "messages.0.content.0.text", text)
    result = answered(promptlathe_server, body)
    assert result["messages"][0]["content"][0]["text"] == text


def test_an_answer_of_many_parts(promptlathe_server: Server) -> None:
    messages = [{"role": "user", "content": f"message {n}"} for n in range(50_000)]
    body = {**FULL, "messages": messages, "usage": [{"n": n} for n in range(10_000)]}
    body["variable_values"] = {f"NAME_{n}": str(n) for n in range(20_000)}
    assert answered(promptlathe_server, body, templatized) == body


@pytest.mark.parametrize("gzip", [False, True])
def test_the_ceiling_of_an_answer(gzip: bool) -> None:
    """Counted in decoded bytes; what is of just that size passes."""
    body = json.dumps(GOOD)
    with Server(gzip=gzip) as server:
        for spare in (0, 1):
            server.script([{"body": body}])
            with client_of(server, max_response_bytes=len(body) + spare) as client:
                assert client.generate(TASK) == GOOD
        error = failure(
            server,
            {"body": body},
            APIResponseValidationError,
            max_response_bytes=len(body) - 1,
            max_retries=2,
        )
        assert "max_response_bytes" in str(error) and error.attempts == 1
        assert len(server.requests) == 3


@pytest.mark.parametrize("size", [0, 1, 100, 70_000])
def test_the_beginning_of_an_unusable_body_is_kept(promptlathe_server: Server, size: int) -> None:
    body = "€" * size
    error = unusable(promptlathe_server, body)
    assert body.startswith(error.body)
    assert error.body == body if size <= 100 else len(error.body) == (64 << 10) // 3


# ---- Objects ------------------------------------------------------------------------------------


def test_the_errors_pickle(promptlathe_server: Server) -> None:
    error = unusable(promptlathe_server, "no JSON")
    twin = pickle.loads(pickle.dumps(error))
    assert type(twin) is APIResponseValidationError
    assert twin.__dict__ == error.__dict__ and twin.args == error.args and twin.body == "no JSON"


@pytest.mark.valgrind
def test_each_result_is_its_own(promptlathe_server: Server) -> None:
    """Callers may change what they got."""
    promptlathe_server.script([{"body": GOOD}] * 2)
    with client_of(promptlathe_server) as client:
        first, second = client.generate(TASK), client.generate(TASK)
    first["messages"].clear()
    assert second == GOOD


@pytest.mark.valgrind
def test_a_raw_response(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"body": GOOD, "headers": {"X-Two": "b", "request-id": "req_9"}}])
    with client_of(promptlathe_server) as client:
        raw = client.with_raw_response.generate(TASK)
    assert raw.data == GOOD and raw.status == 200 and raw.request_id == "req_9"
    assert type(raw.headers) is dict and raw.headers["x-two"] == "b"
    assert type(raw.attempts) is int and raw.attempts == 1
    assert type(raw.elapsed) is float and 0 < raw.elapsed < 20
    assert "req_9" in repr(raw) and "Hello" not in repr(raw)
    twin = pickle.loads(pickle.dumps(raw))
    assert twin.data == raw.data and twin.headers == raw.headers and twin.elapsed == raw.elapsed


def test_a_raw_response_of_each_verb(promptlathe_server: Server) -> None:
    with client_of(promptlathe_server) as client:
        raw = client.with_raw_response
        assert raw.generate(TASK).data["messages"]
        assert raw.improve(TASK, feedback="shorter").data["messages"]
        assert raw.templatize("Translate hello to German").data["variable_values"]
        assert raw.generate(TASK).request_id == promptlathe_server.requests[-1].request_id


def test_a_raw_response_of_a_failure_is_the_same_error(promptlathe_server: Server) -> None:
    promptlathe_server.script([{"body": "no JSON"}])
    with client_of(promptlathe_server) as client, pytest.raises(APIResponseValidationError):
        client.with_raw_response.generate(TASK)
