"""The server in front of a Messages API: what is asked there, and what comes of its answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from messages_server import plausible
from promptlathe import ConfigurationError
from promptlathe.mock import Server
from promptlathe.serve import create_app

from .server import IMPROVE, KEY, TEMPLATIZE, Running, running
from .test_callers import by_name, check, send

PROMPT = json.dumps({"messages": [{"role": "user", "content": "Translate hello to German"}]})
VARIABLES = json.dumps({"messages": [{"role": "user", "content": "Recipe for {{FOOD}}"}]})


def message(text: str) -> dict[str, Any]:
    """The step of a script that answers as a Messages API does."""
    usage = {"input_tokens": 400, "output_tokens": 40}
    block = {"type": "text", "text": text}
    body = {"id": "msg_1", "type": "message", "role": "assistant", "model": "model-1"}
    body |= {"content": [block], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
    return {"status": 200, "body": body}


@pytest.fixture(scope="module")
def _api() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def _front(_api: Server) -> Iterator[Running]:
    with running(model="model-1", upstream=_api.url, max_tokens=321) as served:
        yield served


@pytest.fixture
def api(_api: Server) -> Server:
    """A server whose script answers as a Messages API does."""
    _api.reset()
    return _api


@pytest.fixture
def front(api: Server, _front: Running) -> Running:
    _front.forget()
    return _front


def test_the_model_is_asked_and_its_answer_served(front: Running, api: Server) -> None:
    spans = '[{"name": "TARGET_LANGUAGE", "text": "German"}]'
    api.script([message(f"<result_variables>\n{spans}\n</result_variables>")])
    reply = front.ask(TEMPLATIZE, PROMPT)
    assert reply.status == 200
    assert reply.json["variable_values"] == {"TARGET_LANGUAGE": "German"}
    text = reply.json["messages"][0]["content"][0]["text"]
    assert text == "Translate hello to {{TARGET_LANGUAGE}}"
    (request,) = api.requests
    assert (request.method, request.path) == ("POST", "/v1/messages")
    assert (request.json["model"], request.json["max_tokens"]) == ("model-1", 321)
    assert request.headers["x-api-key"] == KEY
    assert "prompt-tools" not in request.headers.get("anthropic-beta", "")
    (entry,) = front.log.wait()
    assert (entry["input_tokens"], entry["output_tokens"]) == (400, 40)


def test_an_answer_that_cannot_be_used_is_not_quoted(front: Running, api: Server) -> None:
    api.script([message("SECRET without sections")] * 2)
    reply = front.ask()
    assert (reply.status, reply.error["type"]) == (502, "api_error")
    assert reply.error["message"] == "the model's answer cannot be used (unparsable)"
    assert reply.headers["x-should-retry"] == "false"
    assert len(api.requests) == 2
    (entry,) = front.log.wait()
    assert "SECRET" not in str(entry)
    assert (entry["input_tokens"], entry["output_tokens"]) == (800, 80)


def test_variables_that_the_model_lost(front: Running, api: Server) -> None:
    api.script([message("<result_prompt>A recipe for rice</result_prompt>")] * 2)
    reply = front.ask(IMPROVE, VARIABLES)
    assert (reply.status, reply.error["type"]) == (502, "api_error")
    assert "variables" in reply.error["message"]
    assert reply.headers["x-should-retry"] == "false"


def test_the_original_is_kept_where_the_model_changed_variables(api: Server) -> None:
    api.script([message("<result_prompt>A recipe for rice</result_prompt>")] * 2)
    options = {"model": "m", "upstream": api.url, "on_variable_change": "keep_original"}
    with running(**options) as front:
        reply = front.ask(IMPROVE, VARIABLES)
    assert reply.status == 200
    assert reply.json["messages"][0]["content"][0]["text"] == "Recipe for {{FOOD}}"


@pytest.mark.parametrize(
    ("policy", "text"),
    [("keep_original", "Recipe for {{FOOD}}"), ("warn", "A recipe for rice")],
)
@pytest.mark.filterwarnings("ignore:the result has other variables")
def test_variables_may_be_lost(api: Server, policy: str, text: str) -> None:
    api.script([message("<result_prompt>A recipe for rice</result_prompt>")] * 2)
    with running(model="model-1", upstream=api.url, on_variable_change=policy) as served:
        reply = served.ask(IMPROVE, VARIABLES)
    assert reply.status == 200
    assert reply.json["messages"][0]["content"][0]["text"] == text


def test_instructions_that_are_gone_are_no_fault_of_the_caller(api: Server, tmp_path: Path) -> None:
    (tmp_path / "generate.txt").write_text("write a prompt")
    with running(model="model-1", upstream=api.url, instructions=tmp_path) as served:
        (tmp_path / "generate.txt").unlink()
        assert served.ask().status == 500


def test_instructions_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="absent"):
        create_app(model="m", instructions=tmp_path / "absent")


def test_instructions_that_went_are_no_fault_of_a_key(api: Server, tmp_path: Path) -> None:
    (tmp_path / "again.txt").write_text("Once more:")
    with running(model="m", upstream=api.url, instructions=tmp_path) as front:
        (tmp_path / "again.txt").unlink()
        reply = front.ask()
        (entry,) = front.log.wait()
    assert (reply.status, reply.error["type"]) == (500, "api_error")
    assert entry["fault"].startswith("ConfigurationError at ")


@by_name
def test_callers_in_the_wild(front: Running, api: Server, case: dict[str, Any]) -> None:
    api.script([plausible])
    check(send(front.url, case), case)
    assert [request.path for request in api.requests] == ["/v1/messages"] * (case["status"] == 200)


def test_further_betas_are_accepted_and_not_passed_on(front: Running, api: Server) -> None:
    api.script([plausible])
    betas = "other-2025-01-01, prompt-tools-2025-04-02"
    headers = [("x-api-key", KEY), ("anthropic-version", "2023-06-01"), ("anthropic-beta", betas)]
    case = {"method": "POST", "path": TEMPLATIZE, "body": PROMPT}
    case |= {"headers": [*headers, ("content-type", "application/json")]}
    assert send(front.url, case).status == 200
    assert "anthropic-beta" not in api.requests[0].headers
