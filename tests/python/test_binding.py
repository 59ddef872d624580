"""The extension as Python sees it: signatures, arguments, types, exceptions, and what it leaves."""

from __future__ import annotations

import ast
import copy
import gc
import importlib.util
import inspect
import logging
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import promptlathe
import pytest
from promptlathe import Client, RawResponse, Timeout, _core
from promptlathe.mock import Server

KEY = "sk-never-to-be-seen"
NOWHERE = "http://127.0.0.1:1"
ANSWER = {
    "messages": [{"role": "user", "content": [{"type": "text", "text": "né {{X}}\0\U0001f600"}]}],
    "system": "",
    "usage": [{"input_tokens": 3, "ratio": 0.5, "cached": None, "exact": True}],
    "further": {"deep": [[], {}, -7, 9223372036854775807]},
}


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(KEY, base_url=server.url) as client:
        yield client


def run_python(code: str, *options: str) -> str:
    """Run code in a fresh interpreter that knows the package; return what it printed."""
    assert promptlathe.__file__ is not None
    root = str(Path(promptlathe.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, *options, "-c", f"import sys; sys.path.insert(0, {root!r})\n{code}"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---- Signatures ---------------------------------------------------------------------------------

OPTIONS = (
    "timeout=Ellipsis, max_retries=Ellipsis, betas=(), extra_headers=None, max_tokens=Ellipsis, "
    "effort=Ellipsis, on_variable_change=Ellipsis, instructions=Ellipsis"
)
VERBS = {
    "generate": f"task, *, target_model=None, {OPTIONS}",
    "improve": f"messages, *, feedback=None, system=None, target_model=None, {OPTIONS}",
    "templatize": f"messages, *, system=None, {OPTIONS}",
}
FUNCTIONS = VERBS | {
    "validate_messages": "messages",
    "validate_completion_prompt": "prompt, *, count_tokens=None",
    "sanitize_completion_prompt": "prompt",
    "convert_completion_prompt": "prompt, *, count_tokens=None",
    "find_variables": "prompt",
    "render": "prompt, values, *, partial=False",
    "check_round_trip": "request_messages, response, *, system=None",
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_signatures_of_the_contract(name: str) -> None:
    assert str(inspect.signature(getattr(promptlathe, name))) == f"({FUNCTIONS[name]})"


@pytest.mark.parametrize("name", VERBS)
@pytest.mark.parametrize("owner", [Client, promptlathe.ClientWithRawResponse])
def test_methods_have_the_signatures_of_the_functions(owner: type, name: str) -> None:
    assert str(inspect.signature(getattr(owner, name))) == f"(self, /, {VERBS[name]})"


def test_the_client_has_the_signature_of_the_contract() -> None:
    assert str(inspect.signature(Client)) == (
        "(api_key=None, *, auth_token=None, base_url=None, timeout=600, max_retries=2, betas=(), "
        "default_headers=None, ca_file=None, proxy=None, allow_http=False, "
        f"max_response_bytes={64 << 20}, log_bodies=False, model=None, max_tokens=8192, "
        "effort='fast', on_variable_change='raise', instructions=None)"
    )
    assert str(inspect.signature(Timeout)) == "(total=600.0, connect=5.0)"


def test_everything_public_is_documented() -> None:
    names = [name for name in vars(_core) if not name.startswith("_")]
    assert sorted(name for name in names if not getattr(_core, name).__doc__) == []
    for name in FUNCTIONS:
        text = getattr(promptlathe, name).__doc__
        assert all(part in text for part in ("Parameters\n---", "Returns\n---", "Raises\n---"))


# ---- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FUNCTIONS)
def test_calls_with_wrong_arguments_are_type_errors(name: str) -> None:
    function = getattr(promptlathe, name)
    first = next(iter(inspect.signature(function).parameters))
    with pytest.raises(TypeError, match=rf"^{name}\(\) missing required argument: '{first}'$"):
        function()
    with pytest.raises(TypeError, match=rf"^{name}\(\) takes \d positional arguments? but 9 were"):
        function(*"123456789")
    with pytest.raises(TypeError, match=rf"^{name}\(\) got an unexpected keyword argument 'é'$"):
        function("x", é=1)
    with pytest.raises(TypeError, match=rf"^{name}\(\) got multiple values for argument '{first}'"):
        function("x", **{first: "y"})


def test_the_constructor_refuses_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"^Client\(\) takes from 0 to 1 positional argument but 2"):
        Client(KEY, "token")  # type: ignore[misc]
    with pytest.raises(TypeError, match="unexpected keyword argument 'key'"):
        Client(key=KEY)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'default_headers'"):
        promptlathe.generate("x", default_headers={})  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("api_key", KEY.encode()),
        ("auth_token", 1),
        ("base_url", Path("/")),
        ("timeout", True),
        ("timeout", "5"),
        ("timeout", (5, 5)),
        ("max_retries", 2.0),
        ("max_retries", True),
        ("max_retries", None),
        ("betas", "one"),
        ("betas", {"one"}),
        ("betas", ["one", 2]),
        ("default_headers", [("a", "b")]),
        ("default_headers", {"a": 1}),
        ("default_headers", {1: "a"}),
        ("ca_file", 3),
        ("proxy", 3),
        ("allow_http", 1),
        ("max_response_bytes", 1e6),
        ("log_bodies", None),
    ],
)
def test_an_option_of_the_wrong_type_is_named(option: str, value: Any) -> None:
    with pytest.raises(TypeError, match=option):
        Client(**{"api_key": KEY, "base_url": NOWHERE, option: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", 0),
        ("timeout", -1.5),
        ("timeout", float("nan")),
        ("timeout", float("inf")),
        ("timeout", 10**400),
        pytest.param("timeout", 10**5000, id="timeout-too-long-to-show"),
        ("max_retries", -1),
        ("max_retries", 2**31),
        ("max_retries", 10**30),
        ("betas", ["a\0b"]),
        ("default_headers", {"a": "\0"}),
        ("default_headers", {"a": "\udc80"}),
        ("ca_file", "a\0b"),
        ("base_url", "http://a\0b"),
        ("max_response_bytes", 0),
        ("max_response_bytes", -1),
        ("max_response_bytes", 2**64),
    ],
)
def test_an_option_of_the_wrong_value_is_named(option: str, value: Any) -> None:
    with pytest.raises(promptlathe.ConfigurationError, match=option):
        Client(**{"api_key": KEY, "base_url": NOWHERE, option: value})


@pytest.mark.parametrize("end", ["\n", "\0", "\ud800", " ", "é"], ids=ascii)
def test_a_key_that_is_refused_is_not_shown(end: str) -> None:
    with pytest.raises(promptlathe.ConfigurationError, match="api_key") as caught:
        Client(KEY + end)
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "error"),
    [
        ("timeout", "1", TypeError),
        ("timeout", 0, ValueError),
        ("max_retries", -1, ValueError),
        ("betas", "x", TypeError),
        ("extra_headers", [], TypeError),
        ("extra_headers", {"x-api-key": "x"}, ValueError),
    ],
)
def test_options_of_a_call_are_checked_before_anything_is_sent(
    server: Server, client: Client, option: str, value: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=option):
        client.generate("x", **{option: value})
    assert server.requests == []


def test_numbers_may_be_of_other_types() -> None:
    class Index:
        def __index__(self) -> int:
            return 3

    class Seconds:
        def __float__(self) -> float:
            return 0.25

    options: Any = {"max_retries": Index(), "timeout": Seconds(), "max_response_bytes": Index()}
    Client(KEY, base_url=NOWHERE, **options).close()


def test_an_exception_of_an_option_passes_through() -> None:
    class Broken:
        def __index__(self) -> int:
            raise LookupError("mine")

        def __fspath__(self) -> str:
            raise LookupError("mine")

    broken: Any = Broken()
    with pytest.raises(LookupError, match="mine"):
        Client(KEY, max_retries=broken)
    with pytest.raises(LookupError, match="mine"):
        Client(KEY, ca_file=broken)


# ---- Timeout ------------------------------------------------------------------------------------


def test_a_timeout_is_a_value() -> None:
    timeout = Timeout(3, connect=None)
    assert (timeout.total, timeout.connect) == (3.0, None)
    assert repr(timeout) == "Timeout(total=3.0, connect=None)"
    assert timeout == Timeout(total=3.0, connect=None) != Timeout(3)
    assert timeout != (3.0, None)
    assert len({timeout, Timeout(3, None), Timeout()}) == 2
    for again in (pickle.loads(pickle.dumps(timeout)), copy.copy(timeout), copy.deepcopy(timeout)):
        assert again == timeout
    with pytest.raises(TypeError):
        timeout < Timeout()  # type: ignore[operator]  # noqa: B015


def test_a_timeout_cannot_be_changed() -> None:
    timeout: Any = Timeout()
    for name in ("total", "connect", "other"):
        with pytest.raises(AttributeError):
            setattr(timeout, name, 1.0)
    with pytest.raises(TypeError):
        type("Derived", (Timeout,), {})


@pytest.mark.parametrize("value", [True, "1", b"1", [1], 1j])
def test_a_timeout_of_no_number_is_a_type_error(value: Any) -> None:
    with pytest.raises(TypeError, match="connect"):
        Timeout(1, value)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 10**400])
def test_a_timeout_is_finite_and_above_zero(value: Any) -> None:
    with pytest.raises(promptlathe.ConfigurationError, match="total"):
        Timeout(value)


@pytest.mark.parametrize("timeout", [0.2, Timeout(0.2), Timeout(0.2, None)])
def test_every_form_of_timeout_ends_a_call(server: Server, client: Client, timeout: Any) -> None:
    server.script([{"delay": 30}])
    started = time.monotonic()
    with pytest.raises(promptlathe.APITimeoutError):
        client.generate("x", timeout=timeout)
    assert 0.2 <= time.monotonic() - started < 5


@pytest.mark.parametrize("timeout", [None, Timeout(None, None), 2**40, ...])
def test_a_call_may_have_no_limit(client: Client, timeout: Any) -> None:
    assert client.generate("x", timeout=timeout)["messages"]


# ---- Exceptions ---------------------------------------------------------------------------------

TREE: dict[str, tuple[str, ...]] = {
    "PromptLatheError": ("Exception",),
    "ConfigurationError": ("PromptLatheError", "ValueError"),
    "ClientClosedError": ("PromptLatheError", "RuntimeError"),
    "InvalidRequestError": ("PromptLatheError", "ValueError"),
    "InvalidPromptError": ("PromptLatheError", "ValueError"),
    "MissingVariableError": ("PromptLatheError", "KeyError"),
    "APIError": ("PromptLatheError",),
    "APIConnectionError": ("APIError",),
    "APITimeoutError": ("APIConnectionError",),
    "APIResponseValidationError": ("APIError",),
    "ModelAnswerError": ("APIError",),
    "VariablesChangedError": ("ModelAnswerError",),
    "APIStatusError": ("APIError",),
    "BadRequestError": ("APIStatusError",),
    "AuthenticationError": ("APIStatusError",),
    "PermissionDeniedError": ("APIStatusError",),
    "NotFoundError": ("APIStatusError",),
    "EndpointRetiredError": ("NotFoundError",),
    "ConflictError": ("APIStatusError",),
    "RequestTooLargeError": ("APIStatusError",),
    "UnprocessableEntityError": ("APIStatusError",),
    "RateLimitError": ("APIStatusError",),
    "InternalServerError": ("APIStatusError",),
    "OverloadedError": ("InternalServerError",),
}
ATTRIBUTES = {
    "InvalidRequestError": "errors total",
    "InvalidPromptError": "errors total",
    "MissingVariableError": "names",
    "APIConnectionError": "message phase host address curl_code curl_message times attempts "
    "retry_after",
    "APIResponseValidationError": "message status_code request_id headers body attempts",
    "ModelAnswerError": "message type answer usage request_id headers attempts",
    "VariablesChangedError": "lost won",
    "APIStatusError": "status_code type message body request_id headers attempts retry_after "
    "location",
}


def test_the_exceptions_are_those_of_the_contract() -> None:
    found = {
        name: tuple(base.__name__ for base in value.__bases__)
        for name, value in vars(_core).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert found == TREE


@pytest.mark.parametrize("name", TREE)
def test_an_exception_can_be_made_and_pickled_by_a_users_test(name: str) -> None:
    kind = getattr(promptlathe, name)
    assert kind.__module__ == "promptlathe"
    error = kind("what went wrong")
    error.more = ["mine"]
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is kind
        assert (str(again), again.args, again.more) == ("what went wrong", error.args, ["mine"])


@pytest.mark.parametrize("name", TREE)
def test_an_exception_can_be_derived_from_and_is_collected_in_a_cycle(name: str) -> None:
    class Own(getattr(promptlathe, name), LookupError):  # type: ignore[misc]
        def __str__(self) -> str:
            return "own words"

    for kind in (getattr(promptlathe, name), Own):
        error = kind("what went wrong")
        error.itself = error
        reference = weakref.ref(error)
        assert str(reference()) == ("own words" if kind is Own else "what went wrong")
        del error
        gc.collect()
        assert reference() is None


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_have_a_value_on_the_class(name: str) -> None:
    error = getattr(promptlathe, name)("x")
    for attribute in ATTRIBUTES[name].split():
        assert getattr(error, attribute) in (None, 0, "", (), {})


def test_the_shared_empty_values_cannot_be_changed() -> None:
    error = promptlathe.APIStatusError("x")
    with pytest.raises(TypeError):
        error.headers["a"] = "b"  # type: ignore[index]
    assert promptlathe.RateLimitError("x").status_code == 429
    assert promptlathe.OverloadedError("x").status_code == 529


def test_an_error_of_the_service_keeps_all_it_knows(server: Server, client: Client) -> None:
    body = {"type": "error", "error": {"type": "made_up", "message": "no tea"}, "extra": [1, None]}
    server.script([{"status": 418, "headers": {"X-A": "1", "retry-after": "2"}, "body": body}])
    with pytest.raises(promptlathe.APIStatusError) as caught:
        client.generate("the secret plan", max_retries=0)
    error = caught.value
    assert type(error) is promptlathe.APIStatusError
    assert (error.status_code, error.type, error.message) == (418, "made_up", "no tea")
    assert (error.body, error.attempts, error.location) == (body, 1, None)
    assert error.headers["x-a"] == "1" and type(error.headers) is dict
    assert "no tea" in str(error) and "secret plan" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert vars(again) == vars(error) and str(again) == str(error)
    assert KEY.encode() not in pickle.dumps(error)


def test_a_body_that_is_no_json_is_text(server: Server, client: Client) -> None:
    server.script([{"status": 400, "body": b"<p>caf\xe9</p>"}])
    with pytest.raises(promptlathe.BadRequestError) as caught:
        client.generate("x")
    assert caught.value.body == "<p>caf\ufffd</p>"
    assert caught.value.type is None
    assert caught.value.message == str(caught.value)


def test_a_connection_error_says_where(free_port: int) -> None:
    with (
        Client(KEY, base_url=f"http://127.0.0.1:{free_port}", max_retries=0) as client,
        pytest.raises(promptlathe.APIConnectionError) as caught,
    ):
        client.generate("x")
    error = caught.value
    assert (error.phase, error.host, error.attempts) == ("connect", "127.0.0.1", 1)
    assert error.curl_code == 7 and error.curl_message
    assert set(error.times) == {"resolve", "connect", "tls", "send", "wait", "total"}
    assert error.times["tls"] is None and isinstance(error.times["total"], float)
    assert vars(pickle.loads(pickle.dumps(error))) == vars(error)


@pytest.fixture
def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def test_an_answer_that_cannot_be_used_is_kept(server: Server, client: Client) -> None:
    server.script([{"status": 200, "headers": {"request-id": "req_1"}, "body": {"messages": 3}}])
    with pytest.raises(promptlathe.APIResponseValidationError, match="messages") as caught:
        client.generate("x")
    error = caught.value
    assert (error.status_code, error.request_id, error.attempts) == (200, "req_1", 1)
    assert error.body == {"messages": 3}
    assert error.headers["request-id"] == "req_1"


def test_a_missing_variable_reads_as_a_sentence() -> None:
    with pytest.raises(KeyError) as caught:
        promptlathe.render("{{a}} {{b}} {{a}}", {})
    assert type(caught.value) is promptlathe.MissingVariableError
    assert caught.value.names == ["a", "b"]
    assert "a, b" in str(caught.value) and not str(caught.value).startswith("'")


# ---- Results ------------------------------------------------------------------------------------


def types_in(value: Any) -> set[type]:
    found = {type(value)}
    if isinstance(value, dict):
        found |= {kind for pair in value.items() for part in pair for kind in types_in(part)}
    elif isinstance(value, list):
        found |= {kind for part in value for kind in types_in(part)}
    return found


def test_a_result_is_exactly_what_the_service_sent(server: Server, client: Client) -> None:
    server.script([{"status": 200, "body": ANSWER}])
    result: Any = client.generate("x")
    assert result == ANSWER
    assert list(result) == list(ANSWER)
    assert types_in(result) == {dict, list, str, int, float, bool, type(None)}


def test_a_raw_response_has_what_http_said(server: Server, client: Client) -> None:
    server.script([{"status": 200, "headers": {"X-A": "\xe9"}, "body": ANSWER}])
    raw = client.with_raw_response.generate("a secret plan")
    assert (raw.data, raw.status, raw.attempts) == (ANSWER, 200, 1)
    assert raw.headers["x-a"] == "\xe9"
    assert raw.request_id == raw.headers.get("request-id")
    assert 0 < raw.elapsed < 60
    assert "{{X}}" not in repr(raw) and "200" in repr(raw)
    again = pickle.loads(pickle.dumps(raw))
    assert (again.data, again.headers, again.elapsed) == (raw.data, raw.headers, raw.elapsed)
    with pytest.raises(AttributeError):
        raw.status = 3  # type: ignore[misc]


def test_a_raw_response_can_be_made_by_a_users_test() -> None:
    raw: RawResponse[Any] = RawResponse({"messages": []}, 200, {}, None, attempts=1, elapsed=0.5)
    assert (raw.data, raw.elapsed) == ({"messages": []}, 0.5)
    assert str(RawResponse[int]) == "promptlathe.RawResponse[int]"
    with pytest.raises(TypeError, match="missing required argument: 'status'"):
        RawResponse({})  # type: ignore[call-arg]


def test_module_functions_use_one_default_client(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = fresh_core()
    with pytest.raises(module.ConfigurationError, match="ANTHROPIC_API_KEY"):
        module.generate("x")
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("ANTHROPIC_BASE_URL", server.url)
    assert module.generate("x")["messages"]
    assert module.improve("x", feedback="shorter", system=None)["messages"]
    assert module.templatize("Translate hello to German")["variable_values"]
    assert {request.connection for request in server.requests} == {1}


def test_none_is_left_out_of_the_body(server: Server, client: Client) -> None:
    client.improve("x", feedback=None, system=None, target_model=None)
    assert set(server.requests[0].json) == {"messages"}


# ---- Legacy prompts -----------------------------------------------------------------------------

CLEAN = "\n\nHuman: hello\n\nAssistant:"


class Text(str):
    """A str that is not exactly one."""


def test_a_clean_prompt_comes_back_as_itself() -> None:
    assert promptlathe.validate_completion_prompt(CLEAN) is CLEAN
    assert promptlathe.sanitize_completion_prompt(CLEAN)[0] is CLEAN
    for result in (
        promptlathe.validate_completion_prompt(Text(CLEAN)),
        promptlathe.sanitize_completion_prompt(Text(CLEAN))[0],
    ):
        assert type(result) is str and result == CLEAN


@pytest.mark.parametrize("prompt", [None, CLEAN.encode(), 3, [CLEAN]])
def test_a_prompt_that_is_no_str_is_a_type_error(prompt: Any) -> None:
    for name in ("validate", "sanitize", "convert"):
        with pytest.raises(TypeError, match="prompt must be a str, not "):
            getattr(promptlathe, f"{name}_completion_prompt")(prompt)


def test_lone_surrogates_are_refused_where_they_are_and_sanitized_all_the_same() -> None:
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt("\xe9\ud800")
    assert [(e["code"], e["offset"]) for e in caught.value.errors] == [("not_unicode", 1)]
    assert promptlathe.sanitize_completion_prompt(" Human: \ud800 ") == (
        "\n\nHuman: \ud800",
        ["normalized_leading_newlines", "stripped_trailing_whitespace"],
    )


LONG = "\n\nHuman: " + "x" * 100_000 + "\n\nAssistant: "


def test_the_counter_gets_the_sanitized_prompt_once() -> None:
    seen: list[str] = []

    def count(prompt: str) -> int:
        seen.append(prompt)
        return 99_998

    assert promptlathe.validate_completion_prompt(LONG, count_tokens=count) == LONG.rstrip()
    assert seen == [LONG.rstrip()]
    assert promptlathe.validate_completion_prompt(CLEAN, count_tokens=count) is CLEAN
    assert len(seen) == 1


@pytest.mark.parametrize("change", [str, Text, str.rstrip, str.lstrip])
@pytest.mark.parametrize("letter", "x\xe9\u0416\u4e2d\U0001f44b")
def test_the_counter_gets_the_str_that_is_returned(
    change: Callable[[str], str], letter: str
) -> None:
    seen: list[str] = []
    prompt = change(f"\n\nHuman: {letter * 100_000}\n\nAssistant: ")

    def count(text: str) -> int:
        seen.append(text)
        return 0

    valid = promptlathe.validate_completion_prompt(prompt, count_tokens=count)
    assert seen[0] is valid and type(valid) is str
    assert valid == f"\n\nHuman: {letter * 100_000}\n\nAssistant:"


@pytest.mark.parametrize(
    ("count", "code"),
    [
        (99_999, "too_many_tokens"),
        (10**30, "too_many_tokens"),
        (None, "token_count_unknown"),
    ],
)
def test_too_many_tokens_are_refused(count: int | None, code: str) -> None:
    counter = None if count is None else lambda prompt: count
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.convert_completion_prompt(LONG, count_tokens=counter)
    assert [e["code"] for e in caught.value.errors] == [code]


@pytest.mark.parametrize("result", [None, 1.0, True, "1"])
def test_a_count_that_is_no_int_is_a_type_error(result: Any) -> None:
    with pytest.raises(TypeError, match="the result of count_tokens must be an int, not "):
        promptlathe.validate_completion_prompt(LONG, count_tokens=lambda prompt: result)


def test_what_the_counter_raises_passes_through() -> None:
    def count(prompt: str) -> int:
        raise LookupError("no tokenizer")

    with pytest.raises(LookupError, match="no tokenizer"):
        promptlathe.convert_completion_prompt(LONG, count_tokens=count)
    wrong: Any = 7
    with pytest.raises(TypeError, match="count_tokens must be a callable or None, not int"):
        promptlathe.validate_completion_prompt(CLEAN, count_tokens=wrong)


# ---- Templates ----------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [None, 3, b"x", {"a"}])
def test_a_template_of_the_wrong_type_is_a_type_error(prompt: Any) -> None:
    for call in (
        lambda: promptlathe.find_variables(prompt),
        lambda: promptlathe.render(prompt, {}),
    ):
        with pytest.raises(TypeError, match="prompt must be a str, a list of messages or a resp"):
            call()


def test_render_takes_a_dict_of_strings_and_a_bool() -> None:
    wrong: Any = [("a", "b")]
    with pytest.raises(TypeError, match="values must be a dict"):
        promptlathe.render("x", wrong)
    with pytest.raises(TypeError, match="partial must be a bool"):
        promptlathe.render("x", {}, partial=wrong)
    numbers: Any = {f"v{i}": i for i in range(9)}
    with pytest.raises(TypeError, match=r"these are not: v0, v1, v2, v3, v4, \.\.\.$"):
        promptlathe.render("".join(f"{{{{v{i}}}}}" for i in range(9)), numbers)
    assert promptlathe.render("x", numbers) == "x"


def test_render_hands_on_strings_in_which_nothing_changes() -> None:
    text = "{{a}} and {b}" * 100
    assert promptlathe.render(text, {}, partial=True) is text
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": "{{b}}"}]
    rendered = promptlathe.render(messages, {"b": "c"}, partial=True)
    assert rendered[0]["content"] is text and rendered[1]["content"] == "c"
    exact = promptlathe.render(Text(text), {}, partial=True)
    assert type(exact) is str and exact == text


def test_render_hands_on_what_it_does_not_know() -> None:
    usage = {"anything": object()}
    response: Any = {"messages": [{"role": "user", "content": "{{a}}"}], "system": "{{a}}"}
    rendered = promptlathe.render({**response, "usage": usage}, {"a": "b"})
    assert rendered["usage"]["anything"] is usage["anything"]
    assert rendered["system"] == "b"


def test_check_round_trip_names_the_argument_of_the_wrong_type() -> None:
    check: Callable[..., Any] = promptlathe.check_round_trip
    for arguments, name in (((3, {}), "request_messages"), (("x", []), "response")):
        with pytest.raises(TypeError, match=f"^{name} must be"):
            check(*arguments)
    with pytest.raises(TypeError, match="system must be"):
        check("x", {}, system=3)


# ---- The client as an object --------------------------------------------------------------------


def test_a_client_shows_its_address_and_not_its_key(client: Client, server: Server) -> None:
    assert repr(client) == f"<promptlathe.Client {server.url}>"
    assert (client.base_url, client.closed) == (server.url, False)
    client.close()
    client.close()
    assert client.closed and repr(client).endswith(" closed>")
    with pytest.raises(promptlathe.ClientClosedError):
        client.generate("x")


@pytest.mark.parametrize("copier", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_neither_pickled_nor_copied(
    client: Client, copier: Callable[[Client], Any]
) -> None:
    with pytest.raises(TypeError, match="make one in each process"):
        copier(client)


def test_a_client_is_set_up_once(client: Client) -> None:
    with pytest.raises(RuntimeError, match="set up already"):
        client.__init__("other")  # type: ignore[misc]
    bare = Client.__new__(Client)
    assert repr(bare) == "<promptlathe.Client not set up>"
    bare.close()
    uses: list[Callable[[], Any]] = [
        lambda: bare.generate("x"),
        lambda: bare.with_raw_response.generate("x"),
        lambda: bare.with_options(timeout=3),
        lambda: bare.rate_limits,
        lambda: bare.closed,
        bare.__enter__,
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match=r"Client.__init__\(\) has not been called"):
            use()


class Named(Client):
    """A subclass with a constructor and an attribute of its own."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(KEY, **options)
        self.name = name


class Slotted(Client):
    """A subclass without a dict."""

    __slots__ = ()


def test_a_subclass_works_and_so_do_its_copies(server: Server) -> None:
    with Named("mine", base_url=server.url) as client:
        assert client.generate("x")["messages"]
        assert repr(client) == f"<{__name__}.Named {server.url}>"
        other = client.with_options(max_retries=0, default_headers={"x-mine": "1"})
        assert type(other) is Named and other.name == "mine"
        other.improve("x")
        assert dict(server.requests[-1].raw_headers)["x-mine"] == "1"
        other.close()
        assert other.closed and not client.closed
    assert type(Slotted(KEY, base_url=server.url).with_options(timeout=None)) is Slotted


def test_closing_the_original_ends_its_copies(client: Client) -> None:
    other = client.with_options(betas=["x"])
    client.close()
    assert other.closed
    with pytest.raises(promptlathe.ClientClosedError):
        other.generate("x")


def test_betas_of_a_call_are_added_and_those_of_a_copy_replace(
    server: Server, client: Client
) -> None:
    first = client.with_options(betas=["a-1"])
    first.generate("x", betas=("b-2",))
    first.with_options(betas=()).generate("x")
    sent = [request.headers["anthropic-beta"] for request in server.requests]
    assert sent == ["prompt-tools-2025-04-02,a-1,b-2", "prompt-tools-2025-04-02"]


def test_a_client_that_is_forgotten_goes_silently() -> None:
    code = f"""
import gc, promptlathe, weakref
client = promptlathe.Client("k", base_url="{NOWHERE}")
client_ref = weakref.ref(client)
class Loop(promptlathe.Client): pass
loop = Loop("k", base_url="{NOWHERE}")
loop.itself = loop
loop_ref = weakref.ref(loop)
del client, loop
gc.collect()
print(client_ref(), loop_ref())
"""
    assert run_python(code, "-X", "dev", "-W", "error") == "None None\n"


def test_with_raw_response_keeps_its_client(server: Server) -> None:
    calls = Client(KEY, base_url=server.url).with_raw_response
    gc.collect()
    assert calls.generate("x").status == 200
    with pytest.raises(TypeError):
        type(calls)()


def test_many_threads_share_one_client(client: Client) -> None:
    answers: dict[int, Any] = {}

    def work(number: int) -> None:
        for _ in range(5):
            text = f"number {number} is here"
            answers[number] = promptlathe.find_variables(client.templatize(text))
            client.with_options(max_retries=number).rate_limits  # noqa: B018

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == list(range(8))


# ---- Signals ------------------------------------------------------------------------------------


class Alarm(Exception):
    """What the handler of these tests raises."""


@pytest.fixture
def handle_signal() -> Iterator[Callable[[Any], None]]:
    """A function that sets what SIGUSR1 does for the length of a test."""
    before = signal.getsignal(signal.SIGUSR1)

    def handle(handler: Any) -> None:
        signal.signal(signal.SIGUSR1, handler)

    yield handle
    signal.signal(signal.SIGUSR1, before)


def test_a_signal_cancels_its_call_alone(
    server: Server, client: Client, handle_signal: Callable[[Any], None]
) -> None:
    release = threading.Event()
    sent: list[float] = []

    def interrupt(request: object) -> dict[str, Any]:
        sent.append(time.monotonic())
        signal.raise_signal(signal.SIGUSR1)  # in the server's thread: no wait of ours is cut short
        return {"until": release}

    def handler(number: int, frame: object) -> None:
        raise Alarm

    handle_signal(handler)
    server.script([interrupt])
    with pytest.raises(Alarm):
        client.generate("x", timeout=20)
    assert time.monotonic() - sent[0] < 1
    release.set()
    assert client.generate("x")["messages"]


def test_a_handler_that_returns_lets_the_call_go_on(
    server: Server, client: Client, handle_signal: Callable[[Any], None]
) -> None:
    release = threading.Event()

    def interrupt(request: object) -> dict[str, Any]:
        signal.raise_signal(signal.SIGUSR1)
        return {"until": release}

    handle_signal(lambda number, frame: release.set())
    server.script([interrupt])
    assert client.generate("x", timeout=20)["messages"]
    assert release.is_set() and len(server.requests) == 1


# ---- Logging ------------------------------------------------------------------------------------


def test_calls_attempts_and_retries_are_logged(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "promptlathe")
    server.script([{"status": 529, "headers": {"retry-after-ms": "1"}}])
    client.improve("a secret plan")
    told = [(record.name, record.levelname) for record in caplog.records]
    assert told == [("promptlathe", level) for level in ("DEBUG", "WARNING", "DEBUG", "INFO")]
    assert "status 529" in caplog.messages[1] and "improve" in caplog.messages[3]
    assert "2 attempts" in caplog.messages[3]
    assert KEY not in caplog.text and "secret plan" not in caplog.text


def test_a_call_that_fails_is_logged_with_its_error(
    server: Server, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "promptlathe")
    server.script([{"status": 401}])
    with pytest.raises(promptlathe.AuthenticationError):
        client.generate("x")
    assert len(caplog.records) == 1
    assert "AuthenticationError, status 401" in caplog.messages[0]


def test_bodies_are_logged_only_when_asked_for(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "promptlathe")
    with Client(KEY, base_url=server.url, log_bodies=True) as client:
        client.generate("a secret plan")
    bodies = [text for text in caplog.messages if " body: " in text]
    assert [text.partition(" body: ")[0] for text in bodies] == [
        "generate: request",
        "generate: response",
    ]
    assert "a secret plan" in bodies[0] and '"messages"' in bodies[1]
    assert KEY not in caplog.text


def test_what_a_log_filter_raises_passes_through(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(record: logging.LogRecord) -> bool:
        raise Alarm

    caplog.set_level(logging.DEBUG, "promptlathe")
    logger = logging.getLogger("promptlathe")
    logger.addFilter(refuse)
    try:
        with pytest.raises(Alarm):
            client.generate("x")
    finally:
        logger.removeFilter(refuse)
    assert client.generate("x")["messages"]


# ---- Import -------------------------------------------------------------------------------------


def test_import_and_a_call_load_nothing_that_is_not_needed() -> None:
    heavy = "{'asyncio', 'ssl', 'http', 'json', 'typing', 'logging', 'threading'}"
    code = f"""
import promptlathe
try:
    promptlathe.Client("k", base_url="{NOWHERE}", max_retries=0).generate("x")
except promptlathe.APIConnectionError:
    print(sorted({heavy} & set(sys.modules)))
"""
    assert run_python(code, "-S", "-E") == "[]\n"


def test_every_name_of_the_package_is_there() -> None:
    for name in promptlathe.__all__:
        assert getattr(promptlathe, name) is not None
        assert name in dir(promptlathe)
    with pytest.raises(AttributeError, match="no attribute 'AsyncClien'"):
        promptlathe.AsyncClien  # type: ignore[attr-defined]  # noqa: B018


# ---- What it leaves -----------------------------------------------------------------------------


def fresh_core() -> Any:
    """Another instance of the extension module, with a state of its own."""
    spec = importlib.util.spec_from_file_location("promptlathe._core", _core.__file__)
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def use_everything(core: Any, url: str) -> None:
    """Make an object of each type and raise from each source of errors."""
    client = core.Client(KEY, base_url=url, max_retries=0)
    core.kept = [client, client.with_raw_response, core.Timeout(), client.with_options(timeout=3)]
    core.kept.append(client.with_raw_response.generate("x"))
    core.validate_messages([{"role": "user", "content": [{"type": "text", "text": "\xe9"}]}])
    failures: list[Callable[[], Any]] = [
        lambda: core.validate_messages([{"role": 1, "content": [], "\xe9": {}}]),
        lambda: core.validate_completion_prompt("\ud800"),
        lambda: core.render("{{a}}", {}),
        lambda: core.render("{{a}}", {"a": 1}),
        lambda: core.Client(KEY, timeout=0),
        lambda: core.Client(KEY, nothing=0),
        lambda: client.generate("x", betas=[1]),
        lambda: client.generate("x", extra_headers={"a": 1}),
        lambda: client.generate(3),
        lambda: client.improve("bad", target_model=""),
    ]
    for failure in failures:
        with pytest.raises((core.PromptLatheError, TypeError)):
            failure()


def left_of_a_module(url: str) -> list[str]:
    """What is still there of a module, and of its types, after it was used and dropped."""
    module = fresh_core()
    use_everything(module, url)
    gone = [weakref.ref(module)] + [
        weakref.ref(value) for value in vars(module).values() if isinstance(value, type)
    ]
    assert len(gone) > len(TREE) + 3
    del module
    gc.collect()
    return [repr(ref()) for ref in gone if ref() is not None]


def in_a_process_of_its_own(function: str, url: str) -> Any:
    """What a function of this file returns where no other thread runs.

    The threads of a server would count too, and once a second thread has run the free-threaded
    Python 3.13 never frees modules and types.
    """
    folder = str(Path(__file__).parent)
    code = f"sys.path.insert(0, {folder!r}); import test_binding as t; print(t.{function}({url!r}))"
    return ast.literal_eval(run_python(code))


def test_a_module_that_is_dropped_leaves_nothing(server: Server) -> None:
    assert in_a_process_of_its_own("left_of_a_module", server.url) == []


def growth(url: str) -> tuple[int, bool]:
    """How many blocks each further round of 20 uses keeps, and whether a type was kept."""

    def round_of_uses() -> int:
        for _ in range(20):
            use_everything(_core, url)
        del _core.kept  # type: ignore[attr-defined]
        gc.collect()
        return sys.getallocatedblocks()

    def references() -> list[int]:
        return [sys.getrefcount(kind) for kind in vars(_core).values() if isinstance(kind, type)]

    round_of_uses()
    before = references()
    counts = [round_of_uses() for _ in range(5)]
    return min(b - a for a, b in pairwise(counts)), references() != before


def test_nothing_is_left_behind_by_calls_and_errors(server: Server) -> None:
    kept, types_kept = in_a_process_of_its_own("growth", server.url)
    assert kept < 20  # fewer than one for each use
    assert not types_kept


SUBINTERPRETER = f"""
import promptlathe
assert promptlathe.find_variables('{{{{a}}}}') == ['a']
try:
    promptlathe.Client('k', base_url='{NOWHERE}', max_retries=0).generate('x')
except promptlathe.APIConnectionError:
    print('works')
"""


def test_subinterpreters_have_a_module_each() -> None:
    code = f"""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
import promptlathe
run = getattr(interpreters, "exec", interpreters.run_string)
for _ in range(2):
    other = interpreters.create()
    code = "import sys; sys.path[:] = " + repr(sys.path) + chr(10) + {SUBINTERPRETER!r}
    failure = run(other, code)
    assert failure is None, failure
    interpreters.destroy(other)
"""
    assert run_python(code) == "works\nworks\n"
