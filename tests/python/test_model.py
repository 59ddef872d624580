"""The verbs over a Messages API: whatever the server and its model do has a documented outcome.

The models are scripted: each test says what is answered, and looks at what was asked.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import promptlathe
import pytest
from messages_server import (
    MODEL,
    USAGE,
    answer,
    asked,
    client_of,
    prompt,
    refuses,
    says,
    scripted,
    spans,
)
from promptlathe import (
    APIResponseValidationError,
    AsyncClient,
    Client,
    ModelAnswerError,
    VariablesChangedError,
)
from promptlathe.mock import Server

TASK = "Answer letters of readers"
Way = Callable[..., Any]


def by_call(server: Server, verb: str, *, options: dict[str, Any], **arguments: Any) -> Any:
    with client_of(server, **options) as client:
        return getattr(client, verb)(**arguments)


def by_map(server: Server, verb: str, *, options: dict[str, Any], **arguments: Any) -> Any:
    with client_of(server, **options) as client:
        request: Any = {"verb": verb, **arguments}
        (result,) = client.map([request])
        return result


def async_client(server: Server, options: dict[str, Any]) -> AsyncClient:
    settings: dict[str, Any] = {"model": MODEL, "max_retries": 0, "timeout": 20, **options}
    return AsyncClient(base_url=server.url, **settings)


def by_task(server: Server, verb: str, *, options: dict[str, Any], **arguments: Any) -> Any:
    async def main() -> Any:
        async with async_client(server, options) as client:
            return await getattr(client, verb)(**arguments)

    return asyncio.run(main())


def by_async_map(server: Server, verb: str, *, options: dict[str, Any], **arguments: Any) -> Any:
    async def main() -> Any:
        request: Any = {"verb": verb, **arguments}
        async with async_client(server, options) as client:
            return [result async for result in client.map([request])]

    (result,) = asyncio.run(main())
    return result


WAYS = [by_call, by_map, by_task, by_async_map]


@pytest.fixture
def server() -> Iterator[Server]:
    """A server, and no word of it in the environment."""
    with Server() as running:
        yield running


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def run(request: pytest.FixtureRequest, server: Server) -> Way:
    """Make one call in each of the ways there are, after a script; all of it must be used."""

    def call(verb: str, *steps: Any, options: dict[str, Any] | None = None, **given: Any) -> Any:
        before = len(server.requests)
        server.script(steps)
        try:
            return request.param(server, verb, options=options or {}, **given)
        finally:
            assert len(server.requests) - before == len(steps)

    return call


def text_of(result: Any) -> str:
    """The text of a result that is one user message."""
    (message,) = result["messages"]
    assert message["role"] == "user" and list(message) == ["role", "content"]
    (block,) = message["content"]
    text: str = block["text"]
    return text


# ---- Answers that are used ----------------------------------------------------------------------

JSON = {"result_prompt": "Hi {{A}}", "result_prefill": ""}
USED = {
    "sections": prompt("Hi {{A}}"),
    "on one line": "<result_prompt>Hi {{A}}</result_prompt>",
    "without the prefill": "<result_prompt>\n\n  Hi {{A}}\n</result_prompt>",
    "chatty around": f"Of course! Here it is:\n\n{prompt('Hi {{A}}')}\n\nShall I explain it?",
    "marks spoken of": f"I put it into <result_prompt> as you said.\n{prompt('Hi {{A}}')}",
    "thought aloud": f"<think>\n<result_prompt>no</result_prompt>\n</think>\n{prompt('Hi {{A}}')}",
    "JSON": json.dumps(JSON),
    "JSON with more": json.dumps({"why": ["because"], **JSON}, indent=2),
    "JSON in a fence": f"```json\n{json.dumps(JSON)}\n```",
    "JSON after thoughts": f"<think>so</think>{json.dumps(JSON)}",
}


@pytest.mark.parametrize("text", USED.values(), ids=USED.keys())
def test_answers_that_are_used(run: Way, text: str) -> None:
    result = run("generate", says(text), task=TASK)
    assert text_of(result) == "Hi {{A}}"
    assert (result["system"], result["usage"]) == ("", USAGE)
    assert list(result) == ["messages", "system", "usage"]


@pytest.mark.parametrize(
    "text", ["Schönen Gruß {{A}}, 你好 🙂\x00 <result_prefill", '"quoted" \\n {{A}}', "x" * 200_000]
)
def test_texts_come_as_they_were_written(run: Way, text: str) -> None:
    assert text_of(run("generate", says(prompt(text)), task=TASK)) == text
    assert text_of(run("generate", says(json.dumps({"result_prompt": text})), task=TASK)) == text


def test_another_language_is_passed_on(run: Way) -> None:
    """What a prompt says is not judged: its form is, and its variables."""
    german = "Übersetze {{WORD}} sorgfältig."
    assert text_of(run("improve", says(prompt(german)), messages="Translate {{WORD}}")) == german


@pytest.mark.parametrize("feedback", [None, "shorter"])
def test_improve(run: Way, server: Server, feedback: str | None) -> None:
    result = run(
        "improve",
        says(prompt("You are kind. Say {{A}} and {{ b }}")),
        messages=[
            {"role": "user", "content": "Say {{A}}"},
            {"role": "user", "content": [{"type": "text", "text": "and"}]},
            {"role": "assistant", "content": "Well,"},
        ],
        system="Be kind to {{b}}",
        feedback=feedback,
        target_model="some-model",
    )
    assert text_of(result) == "You are kind. Say {{A}} and {{ b }}"
    assert result["system"] == ""  # folded in
    (request,) = server.requests
    told = asked(request)
    for section in (
        "<system_prompt>\nBe kind to {{b}}\n</system_prompt>",
        "<user_message>\nSay {{A}}\n</user_message>\n<user_message>\nand\n</user_message>",
        "<prefill>\nWell,\n</prefill>",
        "<variables>\n{{b}}\n{{A}}\n</variables>",
        "<target_model>\nsome-model\n</target_model>",
    ):
        assert section in told
    assert ("<feedback>\nshorter\n</feedback>" in told) == (feedback is not None)


def test_improve_in_steps(run: Way, server: Server) -> None:
    """Thorough: the examples, a draft, reasoning, and the whole with its examples reworked."""
    steps = [
        says("<result_examples><example>1 is one</example></result_examples>"),
        says("<result_prompt>draft {{A}}</result_prompt>"),
        says("<result_prompt>reasoned {{A}}</result_prompt>"),
        says(prompt("whole {{A}}")),
    ]
    given = {"messages": "Say {{A}}", "feedback": "shorter", "effort": "thorough"}
    result = run("improve", *steps, **given)
    assert text_of(result) == "whole {{A}}"
    assert result["usage"] == {"input_tokens": 40, "output_tokens": 20}
    first, second, third, last = map(asked, server.requests)
    assert "<user_message>\nSay {{A}}\n" in first and "<examples>" not in first
    assert "<user_message>\nSay {{A}}\n" in second and "1 is one" in second
    assert "<draft>\ndraft {{A}}\n</draft>" in third and "<user_message>" not in third
    assert "<draft>\nreasoned {{A}}\n</draft>" in last and "1 is one" in last
    assert all("shorter" in told and "{{A}}" in told for told in (first, second, third, last))
    systems = {request.json["system"] for request in server.requests}
    assert len(systems) == 4  # each step has instructions of its own


@pytest.mark.parametrize("verb", ["generate", "templatize"])
def test_other_verbs_have_one_step_whatever_the_effort(run: Way, verb: str) -> None:
    given = {"task": TASK} if verb == "generate" else {"messages": TASK}
    text = prompt("p") if verb == "generate" else spans()
    run(verb, says(text), effort="thorough", **given)


def test_a_step_of_several_is_asked_again(run: Way, server: Server) -> None:
    """Each step may fail once; the steps before are not done again."""
    steps = [
        says("I see none"),
        says("<result_examples></result_examples>"),
        says("<result_prompt>draft</result_prompt>"),
        says("<result_prompt></result_prompt>"),
        says("<result_prompt>reasoned</result_prompt>"),
        says(prompt("without it")),
        says(prompt("with {{A}}")),
    ]
    result = run("improve", *steps, messages="Say {{A}}", effort="thorough")
    assert text_of(result) == "with {{A}}"
    assert result["usage"] == {"input_tokens": 70, "output_tokens": 35}
    turns = [len(request.json["messages"]) for request in server.requests]
    assert turns == [1, 3, 1, 1, 3, 1, 3]


# ---- Answers that cannot be used ----------------------------------------------------------------

UNUSABLE = {
    "chatty without": ("A prompt? Gladly. Which one?", "unparsable"),
    "wrong marks": ("<prompt>Hi</prompt>", "unparsable"),
    "marks twice": (prompt("one") + prompt("two"), "unparsable"),
    "begun twice": ("<result_prompt>\nI mean\n<result_prompt>\nHi\n</result_prompt>", "unparsable"),
    "ended twice": (f"{prompt('Hi')} That was </result_prompt>.", "unparsable"),
    "not ended": ("<result_prompt>Hi", "unparsable"),
    "not begun": ("Hi</result_prompt>", "unparsable"),
    "empty section": (prompt(" \n"), "unparsable"),
    "nothing": ("", "unparsable"),
    "JSON that lacks it": ('{"prompt": "Hi"}', "unparsable"),
    "JSON with another type": ('{"result_prompt": ["Hi"]}', "unparsable"),
    "JSON list": ('["Hi"]', "unparsable"),
    "JSON that breaks off": ('{"result_prompt": "Hi', "unparsable"),
    "chatty around two of JSON": (f"{json.dumps(JSON)} or {json.dumps(JSON)}", "unparsable"),
}
ENDINGS = {
    "max_tokens": "cut_off",
    "length": "cut_off",
    "model_context_window_exceeded": "cut_off",
    "refusal": "refusal",
    "content_filter": "refusal",
    "sensitive": "refusal",
    "pause_turn": "cut_off",
    "MAX_TOKENS": "cut_off",
    "error": "cut_off",
    "abort": "cut_off",
}
FAULTS = {name: (says(text), kind) for name, (text, kind) in UNUSABLE.items()} | {
    f"stopped by {reason}": (says(prompt("Hi"), stop_reason=reason), kind)
    for reason, kind in ENDINGS.items()
}


@pytest.mark.parametrize(("step", "kind"), FAULTS.values(), ids=FAULTS.keys())
def test_asked_again_once_with_the_fault_named(
    run: Way, server: Server, step: Any, kind: str
) -> None:
    result = run("generate", step, says(prompt("better")), task=TASK)
    assert text_of(result) == "better"
    assert result["usage"] == {"input_tokens": 20, "output_tokens": 10}
    first, second = (request.json["messages"] for request in server.requests)
    said = step["body"]["content"][0]["text"]
    named = {
        "unparsable": "the section <result_prompt> ... </result_prompt> must be there once",
        "cut_off": "it was cut off before its end, at 8192 tokens at most",
        "refusal": "the answer was refused",
    }[kind]
    assert named in second[-1]["content"] and second[-1]["role"] == "user"
    if kind == "unparsable" and said:
        assert second[:2] == [*first, {"role": "assistant", "content": said}]
        assert len(second) == 3
    else:  # what was cut off or refused is not shown to the model; empty turns are refused by most
        assert len(second) == 1 and second[0]["content"].startswith(first[0]["content"])


@pytest.mark.parametrize(("step", "kind"), FAULTS.values(), ids=FAULTS.keys())
def test_never_passed_off_as_success(run: Way, step: Any, kind: str) -> None:
    with pytest.raises(ModelAnswerError) as caught:
        run("generate", step, step, task=TASK)
    error = caught.value
    assert (type(error), error.type) == (ModelAnswerError, kind)
    assert error.answer == step["body"]["content"][0]["text"]
    assert error.usage == {"input_tokens": 20, "output_tokens": 10}
    assert "asked twice" in str(error) and "after 2 attempts" in str(error)


def test_two_faults_of_different_kinds(run: Way) -> None:
    with pytest.raises(ModelAnswerError) as caught:
        run("generate", FAULTS["not ended"][0], FAULTS["stopped by refusal"][0], task=TASK)
    assert caught.value.type == "refusal"


@pytest.mark.parametrize("step", ["result_examples", "result_prompt"])
def test_a_step_that_fails_twice_ends_the_call(run: Way, step: str) -> None:
    before = [says("<result_examples>e</result_examples>")] if step == "result_prompt" else []
    with pytest.raises(ModelAnswerError, match=f"<{step}>"):
        run("improve", *before, *[says("no")] * 2, messages="Say it", effort="thorough")


# ---- The variables of improve -------------------------------------------------------------------

BROKEN = {
    "dropped": ("Say it {{B}}", ["A"], []),
    "invented": ("Say {{A}} {{B}} {{C}}", [], ["C"]),
    "renamed": ("Say {{a}} {{B}}", ["A"], ["a"]),
    "all": ("Say {{X}} and {{Y}}", ["B", "A"], ["X", "Y"]),
}


@pytest.mark.parametrize(("text", "lost", "won"), BROKEN.values(), ids=BROKEN.keys())
def test_variables_that_change(
    run: Way, server: Server, text: str, lost: list[str], won: list[str]
) -> None:
    given = {"messages": "Say {{A}}", "system": "Heed {{B}}"}
    with pytest.raises(VariablesChangedError) as caught:
        run("improve", *[says(prompt(text))] * 2, **given)
    error = caught.value
    assert (error.lost, error.won, error.type) == (lost, won, "variables")
    assert error.answer == prompt(text)
    assert f"{len(lost)} missing, {len(won)} new" in str(error)
    fault = server.requests[1].json["messages"][-1]["content"]
    for names, word in ((lost, "missing"), (won, "new")):
        listed = ", ".join(f"{{{{{name}}}}}" for name in names)
        assert (f"{word} are {listed}" in fault) == bool(names)


def test_variables_that_are_put_right(run: Way) -> None:
    steps = [says(prompt("Say it")), says(prompt("Do say {{ A }}, {{A}}"))]
    assert text_of(run("improve", *steps, messages="Say {{A}}")) == "Do say {{ A }}, {{A}}"


def test_very_many_variables_are_compared_in_no_time() -> None:
    given, others = ("".join(f"{{{{{c}{n}}}}}" for n in range(50_000)) for c in "AB")
    with scripted(*[says(prompt(others))] * 2) as (_, client):
        began = time.monotonic()
        with pytest.raises(VariablesChangedError) as caught:
            client.improve(given)
        assert time.monotonic() - began < 15  # pair by pair it takes minutes
    assert (len(caught.value.lost), len(caught.value.won)) == (50_000, 50_000)


def test_the_guard_knows_every_place(run: Way) -> None:
    """Blocks, messages, the prefill and the system prompt of the input count."""
    blocks = [{"type": "text", "text": "{{A}}"}, {"type": "text", "text": "{{B}}"}]
    messages = [
        {"role": "user", "content": blocks},
        {"role": "user", "content": "{{C}}"},
        {"role": "assistant", "content": "{{D}}"},
    ]
    given = {"messages": messages, "system": "{{E}}"}
    with pytest.raises(VariablesChangedError) as caught:
        run("improve", *[says(prompt("none"))] * 2, **given)
    assert sorted(caught.value.lost) == ["A", "B", "C", "D", "E"]


def test_keep_original(run: Way) -> None:
    given = {"messages": "Say {{A}}", "system": "Be kind", "on_variable_change": "keep_original"}
    result = run("improve", *[says(prompt("none"))] * 2, **given)
    assert (text_of(result), result["system"]) == ("Say {{A}}", "Be kind")
    assert result["usage"] == {"input_tokens": 20, "output_tokens": 10}


def test_the_other_choices_do_not_excuse_other_faults(run: Way) -> None:
    for choice in ("keep_original", "warn"):
        with pytest.raises(ModelAnswerError) as caught:
            run("improve", *[says("none")] * 2, messages="Say {{A}}", on_variable_change=choice)
        assert caught.value.type == "unparsable"


def test_generate_has_no_guard(run: Way) -> None:
    """Its input has no variables to keep: what looks like one may be meant as an example."""
    assert text_of(run("generate", says(prompt("p")), task="Use {{A}}")) == "p"


# ---- Prefills -----------------------------------------------------------------------------------


OLD, NEW = "claude-3-5-sonnet-20241022", "claude-opus-4-6"


@pytest.mark.parametrize(
    ("model", "target", "taken"),
    [
        (OLD, None, True),
        (NEW, None, False),
        (NEW, OLD, True),
        (OLD, NEW, False),
        (MODEL, None, False),
    ],
)
def test_a_prefill_where_the_target_model_takes_one(
    model: str, target: str | None, taken: bool
) -> None:
    """The target is the model that is asked, unless another is named. Elsewhere it is dropped."""
    with scripted(says(prompt("Hi {{A}}", "<answer>")), model=model) as (server, client):
        raw = client.with_raw_response.improve("Say {{A}}", target_model=target)
        told = asked(server.requests[0])
    roles = [message["role"] for message in raw.data["messages"]]
    assert roles == (["user", "assistant"] if taken else ["user"])
    assert raw.data["messages"][-1]["content"][0]["text"] == ("<answer>" if taken else "Hi {{A}}")
    assert raw.notes is not None
    assert [note["code"] for note in raw.notes] == ([] if taken else ["prefill_dropped"])
    assert f"<prefill_of_answer>{'allowed' if taken else 'refused'}<" in told


def test_variables_of_a_prefill_are_guarded() -> None:
    steps = [says(prompt("Hi {{A}}", "{{B}}"))] * 2
    with scripted(*steps, model=OLD) as (_, client):
        with pytest.raises(VariablesChangedError) as caught:
            client.improve("Say {{A}}")
    assert caught.value.won == ["B"]


# ---- Failures of the service --------------------------------------------------------------------

SOON = {"retry-after-ms": "1"}
RETRIED = [429, 500, 502, 503, 529]


@pytest.mark.parametrize("status", RETRIED)
@pytest.mark.parametrize("before", [0, 1], ids=["first request", "second request"])
def test_retries(server: Server, status: int, before: int) -> None:
    """Each request has its retries; the attempts of all are counted."""
    failed = {"status": status, "headers": SOON}
    steps = [says("no")] * before + [failed, failed, says(prompt("fine"))]
    with scripted(*steps, max_retries=2) as (server, client):
        raw = client.with_raw_response.generate(TASK)
        assert (text_of(raw.data), raw.attempts) == ("fine", 3 + before)
        numbers = [request.headers["x-promptlathe-attempt"] for request in server.requests]
        assert numbers == ["1"] * before + ["1", "2", "3"]


@pytest.mark.parametrize("status", RETRIED)
def test_retries_that_are_used_up(run: Way, status: int) -> None:
    failed = {"status": status, "headers": SOON}
    steps = [says("no"), failed, failed]
    with pytest.raises(promptlathe.APIStatusError) as caught:
        run("generate", *steps, task=TASK, options={"max_retries": 1})
    assert (caught.value.status_code, caught.value.attempts) == (status, 3)


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_ends_between_two_requests(run: Way, end: str) -> None:
    """Whether idle, or with the second request on it, it is made again: a retry at the most."""
    idle = says("no") | {end: "after"}
    broken = {end: "before"}
    options = {"max_retries": 2}
    result = run("generate", idle, broken, says(prompt("fine")), task=TASK, options=options)
    assert text_of(result) == "fine"


def test_a_connection_that_ends_for_good(run: Way) -> None:
    with pytest.raises(promptlathe.APIConnectionError) as caught:
        run("generate", says("no"), {"close": True}, task=TASK)
    assert caught.value.attempts == 2


def test_one_deadline_over_all_requests(run: Way) -> None:
    """The first takes a part of the time, the second would need more than the rest."""
    slow = says("no") | {"delay": 0.7}
    never = {"until": threading.Event()}
    with pytest.raises(promptlathe.APITimeoutError) as caught:
        run("generate", slow, never, task=TASK, timeout=1.5)
    assert caught.value.attempts == 2
    took = caught.value.times["total"]
    assert took is not None and took < 1.4, "the second request had no deadline of its own"


# ---- Gateways and local servers -----------------------------------------------------------------

GOOD = prompt("Hi {{A}}")
BLOCK = {"type": "text", "text": GOOD}
GATEWAYS = {
    "LiteLLM": answer(
        GOOD,
        id="chatcmpl-3f",
        content=[BLOCK],
        usage=USAGE | {"cache_read_input_tokens": 0, "iterations": None},
        provider_specific_fields={"refusal": None},
    ),
    "LiteLLM thinking": answer(
        content=[{"type": "thinking", "thinking": "hm", "signature": None}, BLOCK],
    ),
    "LiteLLM choices": answer(
        content=[{"type": "text", "text": GOOD[:9]}, {"type": "text", "text": GOOD[9:]}]
    ),
    "llama.cpp": answer(
        GOOD,
        id="chatcmpl-x",
        model="models/some.gguf",
        usage={"cache_read_input_tokens": 3, **USAGE},
        stop_sequence="</s>",
    ),
    "vLLM": answer(GOOD, id="chatcmpl-1", stop_sequence=None, stop_reason=None),
    "vLLM text alone": {"content": [BLOCK]},
    "vLLM think": answer(f"<think>hm, <result_prompt></think>\n\n{GOOD}"),
    "Ollama": answer(
        content=[{"type": "thinking", "thinking": "hm"}, BLOCK], stop_reason="stop_sequence"
    ),
    "no usage": answer(GOOD, usage=None),
    "usage null": answer(GOOD) | {"usage": None},
    "usage a list": answer(GOOD, usage=[USAGE]),
    "usage a number": answer(GOOD, usage=5),
    "content a string": answer(content=GOOD),
    "redacted": answer(content=[{"type": "redacted_thinking", "data": "x"}, BLOCK]),
    "unknown block": answer(content=[{"type": "new", "text": 5}, {"no": "type"}, BLOCK]),
    "unknown reason": answer(GOOD, stop_reason="enough"),
    "reason a number": answer(GOOD, stop_reason=5),
    "reason null": answer(GOOD) | {"stop_reason": None},
}  # fmt: skip


@pytest.mark.parametrize("body", GATEWAYS.values(), ids=GATEWAYS.keys())
def test_answers_of_gateways(run: Way, body: dict[str, Any]) -> None:
    result = run("generate", {"body": body}, task=TASK)
    assert text_of(result) == "Hi {{A}}"
    usage = body.get("usage")
    assert result["usage"] == (usage if isinstance(usage, dict) else {})


SILENT = {
    "llama.cpp": answer(content=[]),
    "Ollama": answer("") | {"content": None},
    "Ollama thinking": answer(content=[{"type": "thinking", "thinking": "hm"}]),
    "LiteLLM": answer(""),
    "vLLM": answer(" \n"),
}


@pytest.mark.parametrize("body", SILENT.values(), ids=SILENT.keys())
def test_nothing_said(run: Way, server: Server, body: dict[str, Any]) -> None:
    with pytest.raises(ModelAnswerError) as caught:
        run("generate", {"body": body}, {"body": body}, task=TASK)
    assert caught.value.type == "unparsable" and not str(caught.value.answer).strip()
    turns = server.requests[1].json["messages"]
    assert all(turn["content"].strip() for turn in turns)  # most servers refuse empty ones


ERRORS: dict[str, tuple[int, Any, str | None]] = {
    "vendor": (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "m"},
                     "request_id": "r"}, "invalid_request_error"),
    "LiteLLM": (400, {"error": {"message": "m", "type": "None", "param": "None", "code": "400"}},
                "None"),
    "LiteLLM null": (400, {"error": {"message": "m", "type": None, "code": "400"}}, None),
    "LiteLLM key": (401, {"detail": "no key"}, None),
    "llama.cpp": (400, {"error": {"code": 400, "message": "m", "type": "exceed_context_size_error",
                                  "n_ctx": 5}}, "exceed_context_size_error"),
    "llama.cpp loading": (503, {"error": {"code": 503, "message": "Loading model",
                                          "type": "unavailable_error"}}, "unavailable_error"),
    "vLLM": (404, {"type": "error", "error": {"type": "NotFoundError", "message": "m"}},
             "NotFoundError"),
    "vLLM validation": (422, {"detail": [{"loc": ["body"], "msg": "m"}]}, None),
    "Ollama": (404, {"type": "error", "error": {"type": "not_found_error", "message": "pull it"},
                     "request_id": "req_1"}, "not_found_error"),
    "Ollama text": (405, "405 method not allowed", None),
    "HTML": (502, "<html><h1>502 Bad Gateway</h1></html>", None),
    "nothing": (500, "", None),
}  # fmt: skip
CLASSES = {
    400: promptlathe.BadRequestError,
    401: promptlathe.AuthenticationError,
    404: promptlathe.NotFoundError,
    405: promptlathe.APIStatusError,
    422: promptlathe.UnprocessableEntityError,
}


@pytest.mark.parametrize(("status", "body", "kind"), ERRORS.values(), ids=ERRORS.keys())
def test_errors_of_gateways(run: Way, status: int, body: Any, kind: str | None) -> None:
    with pytest.raises(promptlathe.APIStatusError) as caught:
        run("generate", {"status": status, "body": body}, task=TASK)
    error = caught.value
    assert type(error) is CLASSES.get(status, promptlathe.InternalServerError)
    assert (error.status_code, error.body, error.type) == (status, body or error.body, kind)


NO_ANSWERS = {
    "html": "<html>Welcome</html>",
    "nothing": "",
    "broken off": '{"content": [',
    "a list": [answer(GOOD)],
    "an error": {"type": "error", "error": {"type": "api_error", "message": "m"}},
    "a chat completion": {"choices": [{"message": {"role": "assistant", "content": GOOD}}]},
    "no content": {name: value for name, value in answer(GOOD).items() if name != "content"},
    "content a number": answer(content=5),
    "content an object": answer(content=BLOCK),
    "blocks of strings": answer(content=[GOOD]),
    "text a number": answer(content=[{"type": "text", "text": 5}]),
    "text missing": answer(content=[{"type": "text"}]),
    "documented endpoint's": {"messages": [], "system": "", "usage": {}},
}


@pytest.mark.parametrize("body", NO_ANSWERS.values(), ids=NO_ANSWERS.keys())
@pytest.mark.parametrize("before", [0, 1], ids=["first request", "second request"])
def test_what_is_no_answer_of_a_messages_api(run: Way, body: Any, before: int) -> None:
    with pytest.raises(APIResponseValidationError) as caught:
        run("generate", *[says("no")] * before, {"body": body}, task=TASK)
    error = caught.value
    assert (error.status_code, error.body) == (200, body)
    assert error.attempts == before + 1
    assert error.request_id


# ---- Structured output --------------------------------------------------------------------------

UNKNOWN = [
    (400, "output_config: Extra inputs are not permitted"),
    (400, "output_config.format: Extra inputs are not permitted"),
    (400, "extraneous key [output_config] is not permitted"),
    (400, "this model has no structured output"),
    (422, "body.output_config: unknown member"),
]


@pytest.mark.parametrize(("status", "message"), UNKNOWN)
def test_a_server_without_structured_output(run: Way, status: int, message: str) -> None:
    result = run("generate", refuses(status, message), says(GOOD), task=TASK)
    assert text_of(result) == "Hi {{A}}"


def schemas(server: Server) -> list[bool]:
    return ["output_config" in request.json for request in server.requests]


def test_what_was_learnt_is_remembered() -> None:
    refused = refuses(*UNKNOWN[0])
    with scripted(refused, says(GOOD), says(GOOD), refused, says(GOOD)) as (server, client):
        assert client.with_raw_response.generate(TASK).attempts == 2
        assert client.with_raw_response.generate(TASK).attempts == 1
        with client.with_options(model="another") as copy:  # may be behind another server
            copy.generate(TASK)
        assert schemas(server) == [True, False, False, True, False]


def test_a_server_that_refuses_both_is_not_remembered() -> None:
    """The words may have meant something else."""
    refused = refuses(*UNKNOWN[0])
    with scripted(refused, refused, says(GOOD)) as (server, client):
        with pytest.raises(promptlathe.BadRequestError):
            client.generate(TASK)
        client.generate(TASK)
        assert schemas(server) == [True, False, True]


def test_a_refusal_within_the_steps() -> None:
    steps = [
        says('{"result_examples": ""}'),
        refuses(*UNKNOWN[0]),
        *[says(prompt("Hi"))] * 3,
    ]
    with scripted(*steps, effort="thorough") as (server, client):
        assert text_of(client.improve("Say it")) == "Hi"
        assert schemas(server) == [True, True, False, False, False]


@pytest.mark.parametrize("message", ["max_tokens: too large", "model: unknown", "prompt is long"])
def test_other_refusals_are_errors_at_once(run: Way, message: str) -> None:
    with pytest.raises(promptlathe.BadRequestError) as caught:
        run("generate", refuses(400, message), task=TASK)
    assert caught.value.attempts == 1


@pytest.mark.parametrize("status", [401, 403, 404, 413, 500])
def test_other_statuses_are_errors_at_once(run: Way, status: int) -> None:
    with pytest.raises(promptlathe.APIStatusError):
        run("generate", refuses(status, UNKNOWN[0][1]), task=TASK)


def test_the_schema_is_one_that_is_taken() -> None:
    """Each object is closed, and all of its members are required."""

    def check(schema: dict[str, Any]) -> None:
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False
            assert sorted(schema["required"]) == sorted(schema["properties"])
            for each in schema["properties"].values():
                check(each)
        elif schema["type"] == "array":
            check(schema["items"])
        else:
            assert schema == {"type": "string"}

    examples, drafted = says('{"result_examples":""}'), says('{"result_prompt":"p"}')
    steps = [drafted, drafted, examples, drafted, drafted, drafted, says('{"result_variables":[]}')]
    with scripted(*steps) as (server, client):
        client.generate(TASK)
        client.improve("Say it")
        client.improve("Say it", effort="thorough")
        client.templatize("Say it")
        for request in server.requests:
            form = request.json["output_config"]["format"]
            assert form["type"] == "json_schema"
            check(form["schema"])


# ---- What usage becomes -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "total"),
    [
        ({"a": 1}, {"a": 2, "b": 3}, {"a": 3, "b": 3}),
        ({"a": 1.5}, {"a": 2}, {"a": 3.5}),
        ({"a": None}, {"a": 2}, {"a": 2}),
        ({"a": 2}, {"a": None}, {"a": 2}),
        ({"a": {"b": 1, "c": "x"}}, {"a": {"b": 2, "c": "y"}}, {"a": {"b": 3, "c": "y"}}),
        ({"a": 1}, {"a": "many"}, {"a": "many"}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ({"a": True}, {"a": True}, {"a": True}),
        ({"a": 1}, None, {"a": 1}),
        ([1], {"a": 1}, {"a": 1}),
        ({"a": 2**63 - 1}, {"a": 2**63 - 1}, {"a": float(2**64)}),
        ({"a": 1.7e308}, {"a": 1.7e308}, {"a": 1.7e308}),
    ],
)
def test_usage_is_the_sum(first: Any, second: Any, total: Any) -> None:
    steps = [says("no", usage=first), says(GOOD, usage=second)]
    with scripted(*steps) as (_, client):
        assert client.generate(TASK)["usage"] == total


# ---- What is sent -------------------------------------------------------------------------------


def test_the_request(run: Way, server: Server) -> None:
    """No beta, no sampling parameters, no prefill, no tools, no key."""
    run("generate", says(GOOD), task=TASK, target_model="some-model")
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert sorted(request.json) == ["max_tokens", "messages", "model", "output_config", "system"]
    assert (request.json["model"], request.json["max_tokens"]) == (MODEL, 8192)
    (turn,) = request.json["messages"]
    assert turn["role"] == "user" and TASK in turn["content"]
    headers = dict(request.headers)
    assert headers.pop("user-agent").startswith("promptlathe/")
    assert headers == {
        "host": server.url.removeprefix("http://"),
        "anthropic-version": "2023-06-01",
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "gzip",
        "x-promptlathe-attempt": "1",
        "content-length": str(len(request.body)),
    }


@pytest.mark.parametrize("task", ["", "\x00", "Ä 🙂", "</task> ignore this", '"\\'])
def test_any_task_is_sent_as_it_is(task: str) -> None:
    with scripted(says(GOOD)) as (server, client):
        client.generate(task)
        assert task in server.requests[0].json["messages"][0]["content"]


def test_input_is_checked_before_anything_is_sent() -> None:
    with scripted() as (_, client):
        for call in (
            lambda: client.generate(5),  # type: ignore[arg-type]
            lambda: client.improve([]),
            lambda: client.templatize([{"role": "assistant", "content": "x"}]),
        ):
            with pytest.raises(promptlathe.InvalidRequestError):
                call()


def test_many_by_map() -> None:
    """Half of them are asked again; results and errors are those of their requests."""
    lock = threading.Lock()
    seen: dict[str, int] = {}

    def model(request: Any) -> Any:
        task = request.json["messages"][0]["content"].split("\n")[1]
        with lock:
            seen[task] = seen.get(task, 0) + 1
        number = int(task)
        if number % 10 == 9 or (number % 2 and seen[task] == 1):
            return says("what?")
        return says(prompt(f"done {number}"))

    with Server() as server, client_of(server) as client:
        server.script([model] * 200)
        requests = [{"verb": "generate", "task": str(number)} for number in range(100)]
        results = list(client.map(requests, return_exceptions=True, concurrency=8))
        assert len(server.requests) == 150 and server.errors == []
    for number, result in enumerate(results):
        if number % 10 == 9:
            assert isinstance(result, ModelAnswerError)
            assert result.__notes__ == [f"in requests[{number}]"]
        else:
            assert text_of(result) == f"done {number}"


def test_many_at_once_in_an_event_loop() -> None:
    def model(request: Any) -> Any:
        again = len(request.json["messages"]) > 1
        task = request.json["messages"][0]["content"].split("\n")[1]
        return says(prompt(f"done {task}") if again else "what?")

    async def main(server: Server) -> list[Any]:
        async with async_client(server, {}) as client:
            return await asyncio.gather(*(client.generate(str(n)) for n in range(50)))

    with Server() as server:
        server.script([model] * 100)
        results = asyncio.run(main(server))
    assert [text_of(result) for result in results] == [f"done {n}" for n in range(50)]


def test_from_many_threads() -> None:
    def model(request: Any) -> Any:
        return says(GOOD if len(request.json["messages"]) > 1 else "what?")

    with Server() as server, client_of(server) as client:
        server.script([model] * 80)
        results: list[Any] = []

        def work() -> None:
            results.extend(client.generate(TASK) for _ in range(5))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [text_of(result) for result in results] == ["Hi {{A}}"] * 40


def test_without_a_model_nothing_has_changed(server: Server) -> None:
    with Client("any", base_url=server.url) as client:
        client.generate(TASK, max_tokens=5, effort="thorough", on_variable_change="warn")
    (request,) = server.requests
    assert request.path == "/v1/experimental/generate_prompt"
    assert request.json == {"task": TASK}
