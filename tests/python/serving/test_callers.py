"""Callers in the wild, as recorded requests, against `promptlathe.serve`."""

from __future__ import annotations

import json
from http.client import HTTPConnection
from typing import Any

import pytest
from conftest import ROOT
from promptlathe.mock import Server

from serving.server import LIMIT, Reply, Running

CASES: list[dict[str, Any]] = [
    case
    for name in ("callers_in_the_wild", "recorded_requests")
    for case in json.loads((ROOT / f"tests/cases/{name}.json").read_text(encoding="utf-8"))
]
MEMBERS = {"messages", "system", "usage"}

by_name = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


def send(url: str, case: dict[str, Any]) -> Reply:
    """Send a recorded request: its headers as they are, in their order, repeats too."""
    connection = HTTPConnection(url.removeprefix("http://"), timeout=LIMIT)
    body = case["body"].encode()
    connection.putrequest(case["method"], case["path"], skip_accept_encoding=True)
    for name, value in case["headers"]:
        connection.putheader(name, value)
    connection.putheader("content-length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    fields = {name.lower(): value for name, value in answer.getheaders()}
    reply = Reply(answer.status, fields, answer.read())
    connection.close()
    return reply


def check(reply: Reply, case: dict[str, Any]) -> None:
    assert reply.status == case["status"], reply.body
    assert reply.headers["content-type"] == "application/json"
    if reply.status != 200:
        assert reply.error["type"] == case["type"]
        assert case["message"] in reply.error["message"]
        return
    found = reply.json
    assert set(found) == MEMBERS | ({"variable_values"} if "templatize" in case["path"] else set())
    assert found["messages"][0]["role"] == "user"
    assert isinstance(found["system"], str)


@by_name
def test_of_the_simulated_answers(
    simulated: Running, promptlathe_server: Server, case: dict[str, Any]
) -> None:
    reply = send(simulated.url, case)
    check(reply, case)
    of_mock = send(promptlathe_server.url, case)
    assert of_mock.status == reply.status
    for one in (found := [reply.json, of_mock.json]):
        one.pop("request_id", None)
    assert found[0] == found[1]


@by_name
def test_in_front_of_an_upstream(proxy: Running, upstream: Server, case: dict[str, Any]) -> None:
    reply = send(proxy.url, case)
    check(reply, case)
    if case["status"] != 200:
        assert upstream.requests == []
        return
    (request,) = upstream.requests
    sent, given = request.json, json.loads(case["body"])
    assert {name: value for name, value in given.items() if value is not None}.keys() == sent.keys()
    key = next(value for name, value in case["headers"] if name == "x-api-key")
    assert request.headers["x-api-key"] == key
    assert request.headers["anthropic-beta"] == "prompt-tools-2025-04-02"
    assert "of the gateway" not in str(request.raw_headers)
