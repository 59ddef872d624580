"""What `to_messages_request` makes of results, for models that take a prefill and for others."""

from __future__ import annotations

import copy
import doctest
import json
import re
from typing import Any

import hypothesis
import promptlathe
import pytest
from hostile import HostileDict, HostileStr
from hypothesis import strategies as st
from promptlathe import InvalidRequestError, MissingVariableError, to_messages_request
from promptlathe._core import takes_prefill
from promptlathe.mock import Server

TAKES = "claude-haiku-4-5"
REFUSES = "claude-opus-4-6"


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def made(result: Any, model: str = TAKES, **options: Any) -> dict[str, Any]:
    """Make a request, and see that the result is left as it was."""
    before = copy.deepcopy(result)
    request = to_messages_request(result, model=model, **options)
    assert result == before
    return request


def quoted(request: dict[str, Any]) -> str:
    """What the instruction at the end of the request quotes."""
    content = request["messages"][-1]["content"]
    words = content if isinstance(content, str) else content[-1]["text"]
    found = re.search(r"<(answer_start_*)>(.*)</\1>\Z", words, re.DOTALL)
    assert found and "Begin your answer with exactly the text" in words
    return found[2]


def faults(result: Any, **options: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        to_messages_request(result, **({"model": TAKES} | options))
    assert caught.value.total == len(caught.value.errors)
    assert all(fault["message"] in str(caught.value) for fault in caught.value.errors)
    return [(fault["path"], fault["code"]) for fault in caught.value.errors]


# ---- What comes out ------------------------------------------------------------------------------


def test_a_text() -> None:
    assert made("Hi {{X}}", values={"X": "Ada"}) == {
        "model": TAKES,
        "max_tokens": 8192,
        "messages": [user("Hi Ada")],
    }


@pytest.mark.parametrize("model", [TAKES, REFUSES, "llama3"])
def test_answers_of_the_service(promptlathe_server: Server, model: str) -> None:
    with promptlathe.Client("key", base_url=promptlathe_server.url) as client:
        answers = [
            client.generate("a chef", target_model=model),
            client.improve("Recipe for {{food}}", system="You are a chef"),
            client.templatize("Translate hello to German", system="Be brief"),
        ]
    for answer in answers:
        values = dict.fromkeys(promptlathe.find_variables(answer), "something")
        request = made(answer, model, values=values, max_tokens=50)
        assert json.loads(json.dumps(request)) == request
        assert set(request) == {"model", "max_tokens", "messages"} | (
            {"system"} if answer["system"] else set()
        )
        assert promptlathe.find_variables(request) == []


def test_a_converted_prompt_keeps_its_turns() -> None:
    prompt = "Be brief.\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Bye\n\nAssistant:"
    request = made(promptlathe.convert_completion_prompt(prompt))
    assert request["system"] == "Be brief."
    assert [message["role"] for message in request["messages"]] == ["user", "assistant", "user"]


def test_consecutive_user_messages_and_other_members_stay() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://example.com/{{X}}"}}
    marked = text("b") | {"cache_control": {"type": "ephemeral"}}
    messages = [user("a"), user([marked, image])]
    assert made(messages)["messages"] == messages


def test_a_subclass_is_read_as_what_it_holds() -> None:
    result = HostileDict(messages=[user(HostileStr("{{A}}"))], variable_values={"A": "a"})
    assert to_messages_request(result, model=TAKES)["messages"] == [user("a")]


# ---- What is left out ----------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["", " \n", None])
def test_no_empty_system(system: str | None) -> None:
    assert "system" not in made({"messages": [user("a")], "system": system})


def test_no_empty_blocks_and_messages() -> None:
    blocks = [text(""), text("a"), text(" \n"), text("b "), text("")]
    messages = [user(""), user(blocks), user([]), user([text("")]), user("\t"), user("c")]
    assert made(messages)["messages"] == [user([text("a"), text("b ")]), user("c")]


def test_what_values_leave_empty_is_left_out() -> None:
    result = {"messages": [user("{{A}}"), user("b"), assistant("{{A}}")], "system": "{{A}}"}
    request = made(result, values={"A": ""})
    assert (request["messages"], "system" in request) == ([user("b")], False)


@pytest.mark.parametrize("result", ["", " ", [], [user("")], [user([text("")]), assistant(" ")]])
def test_nothing_left_is_told(result: Any) -> None:
    assert faults(result) == [("messages", "empty")]


@pytest.mark.parametrize("model", [TAKES, REFUSES])
def test_a_prefill_needs_a_user_message(model: str) -> None:
    result = [user("\n"), assistant("x")]
    assert faults(result, model=model) == [("messages", "no_user_message")]


# ---- Prefill -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "stripped"),
    [
        (" {  \n", " {"),
        ([text(" a "), text("b\u00a0\t")], [text(" a "), text("b")]),
        ([text("a\n"), text(" ")], [text("a")]),
    ],
)
def test_a_prefills_end_is_stripped(content: Any, stripped: Any) -> None:
    assert made([user("a "), assistant(content)])["messages"] == [user("a "), assistant(stripped)]


@pytest.mark.parametrize("model", [TAKES, REFUSES])
@pytest.mark.parametrize("content", ["", "\n ", [], [text("")], [text(" "), text("\n")]])
def test_an_empty_prefill_is_dropped(model: str, content: Any) -> None:
    assert made([user("a"), assistant(content)], model)["messages"] == [user("a")]


def test_a_prefill_becomes_an_instruction() -> None:
    prefill = '{"a": [1,\n  '
    for content in (prefill, [text(prefill[:4]), text(prefill[4:])]):
        request = made([user("x"), user("y"), assistant(content)], REFUSES)
        assert [message["role"] for message in request["messages"]] == ["user", "user"]
        assert request["messages"][0] == user("x")
        assert request["messages"][1]["content"].startswith("y\n\n")
        assert quoted(request) == prefill
    blocks = made([user([text("y")]), assistant(prefill)], REFUSES)
    assert blocks["messages"][0]["content"][0] == text("y")
    assert (len(blocks["messages"][0]["content"]), quoted(blocks)) == (2, prefill)


@pytest.mark.parametrize(
    "prefill", ["</answer_start>", "<answer_start_>x</answer_start__>", "{tag}"]
)
def test_a_prefill_with_the_mark_in_it(prefill: str) -> None:
    assert quoted(made([user("a"), assistant(prefill)], REFUSES)) == prefill


def test_all_assistant_messages_at_the_end_are_the_prefill() -> None:
    request = made([user("a"), assistant("b "), user(""), assistant("c")], REFUSES)
    assert (len(request["messages"]), quoted(request)) == (1, "b c")


def test_values_go_into_the_prefill() -> None:
    result = [user("a"), assistant("{{X}} ")]
    assert made(result, values={"X": "x"})["messages"][1] == assistant("x")
    assert quoted(made(result, REFUSES, values={"X": "x"})) == "x "


def test_a_prefill_that_is_no_text() -> None:
    result = [user("a"), assistant([{"type": "tool_use", "id": "1", "name": "f", "input": {}}])]
    assert made(result)["messages"] == result
    assert faults(result, model=REFUSES) == [("messages", "not_text")]


def test_who_takes_a_prefill() -> None:
    assert takes_prefill("us.anthropic.claude-haiku-4-5-20251001-v1:0") is True
    assert takes_prefill(model="claude-sonnet-5") is False
    assert takes_prefill("\ud800/claude-3-opus") is True
    with pytest.raises(TypeError, match="model must be a str, not bytes"):
        takes_prefill(b"claude-3-opus")  # type: ignore[arg-type]


# ---- Values --------------------------------------------------------------------------------------

TEMPLATE = {
    "messages": [user("Translate {{WORD}} to {{LANGUAGE}}")],
    "system": "",
    "usage": {"input_tokens": 1},
    "variable_values": {"WORD": "hello", "LANGUAGE": "German"},
}


def test_a_templates_own_values() -> None:
    assert made(TEMPLATE)["messages"] == [user("Translate hello to German")]


def test_values_that_are_given_are_all_that_count() -> None:
    with pytest.raises(MissingVariableError) as caught:
        made(TEMPLATE, values={"WORD": "water"})
    assert caught.value.names == ["LANGUAGE"]
    with pytest.raises(MissingVariableError):
        made(TEMPLATE, values={})


def test_partial() -> None:
    request = made(TEMPLATE, values={"WORD": "water"}, partial=True)
    assert request["messages"] == [user("Translate water to {{LANGUAGE}}")]


@pytest.mark.parametrize("result", ["{{A}}", [user("{{A}}")], {"messages": [user("{{A}}")]}])
def test_without_values_a_variable_is_missing(result: Any) -> None:
    with pytest.raises(MissingVariableError):
        made(result)


# ---- What is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"model": None}, "model must be a str, not NoneType"),
        ({"model": TAKES, "max_tokens": True}, "max_tokens must be an int, not bool"),
        ({"model": TAKES, "max_tokens": 5.0}, "max_tokens must be an int, not float"),
        ({"model": TAKES, "values": [("A", "a")]}, "values must be a dict"),
        ({"model": TAKES, "values": {"A": 5}}, "values must be str, and these are not: A"),
        ({"model": TAKES, "partial": 1}, "partial must be a bool"),
        ({}, "missing 1 required keyword-only argument: 'model'"),
    ],
)
def test_options_of_a_wrong_type(options: dict[str, Any], wanted: str) -> None:
    with pytest.raises(TypeError, match=re.escape(wanted)):
        to_messages_request("{{A}}", **options)


@pytest.mark.parametrize("result", [None, 5, b"a", {user("a")["role"]}])
def test_what_is_no_result(result: Any) -> None:
    with pytest.raises(TypeError, match="must be a str, a list of messages or a response dict"):
        to_messages_request(result, model=TAKES)


@pytest.mark.parametrize(
    ("result", "options", "expected"),
    [
        ("a", {"model": ""}, ("model", "bad_length")),
        ("a", {"max_tokens": 0}, ("max_tokens", "too_small")),
        ([user("a"), {"role": "system", "content": "b"}], {}, ("messages.1.role", "bad_role")),
        ([user("a"), {"content": "b"}], {}, ("messages.1.role", "bad_role")),
        ([{"role": ["user"], "content": "b"}], {}, ("messages.0.role", "bad_role")),
        ({"system": "a"}, {}, ("messages", "missing")),
        ({"messages": [user(5)]}, {}, ("messages.0.content", "wrong_type")),
        ({"messages": [], "system": [text("a")]}, {}, ("system", "wrong_type")),
    ],
)
def test_bad_input(result: Any, options: dict[str, Any], expected: tuple[str, str]) -> None:
    assert faults(result, **options) == [expected]


# ---- Of any messages -----------------------------------------------------------------------------

words = st.text(st.sampled_from("a \n\u00a0{}<>/_answer_start"), max_size=6)
contents = st.one_of(words, st.lists(words.map(text), max_size=3))
messages = st.lists(st.one_of(contents.map(user), contents.map(assistant)), max_size=5)


@hypothesis.settings(max_examples=300, deadline=None, derandomize=True, database=None)
@hypothesis.given(messages, st.sampled_from([TAKES, REFUSES]), words)
def test_what_comes_out_is_accepted(given: Any, model: str, system: str) -> None:
    try:
        request = made({"messages": given, "system": system}, model, partial=True)
    except InvalidRequestError as error:
        assert error.errors[0]["code"] in ("empty", "no_user_message")
        return
    assert "system" not in request or request["system"].strip()
    for message in request["messages"]:
        content = message["content"]
        blocks = [text(content)] if isinstance(content, str) else content
        assert blocks and all(block["text"].strip() for block in blocks)
    last = request["messages"][-1]
    if last["role"] == "assistant":
        final = last["content"]
        final = final if isinstance(final, str) else final[-1]["text"]
        assert model == TAKES and final == final.rstrip()


def test_the_examples_of_its_documentation() -> None:
    from promptlathe import _messages_request

    assert doctest.testmod(_messages_request) == (0, 6)
