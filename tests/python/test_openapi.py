"""The description in docs/openapi.json against recorded requests and the service's own answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from promptlathe.mock import Server
from promptlathe.server import bodies, handler
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT: dict[str, Any] = json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8"))
RECORDED: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/cases/recorded_requests.json").read_text(encoding="utf-8")
)
MESSAGES: list[dict[str, Any]] = json.loads(
    (ROOT / "tests/cases/messages.json").read_text(encoding="utf-8")
)
IMPROVE = "/v1/experimental/improve_prompt"
GENERATE = "/v1/experimental/generate_prompt"
HEADERS = {
    "x-api-key": "any",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "prompt-tools-2025-04-02",
    "content-type": "application/json",
}


def validator(pointer: str) -> Draft202012Validator:
    """A validator for the part of the description at a JSON pointer."""
    resource: Resource[Any] = Resource.from_contents(DOCUMENT, DRAFT202012)
    registry: Registry[Any] = Registry().with_resource("urn:openapi", resource)
    return Draft202012Validator({"$ref": f"urn:openapi#{pointer}"}, registry=registry)


def resolve(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = DOCUMENT
        for name in node["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        node = found
    return node


def escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def body_schema(path: str) -> str:
    where = f"/paths/{escaped(path)}/post/requestBody/content/application~1json/schema"
    assert DOCUMENT["paths"][path]["post"]["requestBody"]
    return where


def check_answer(path: str, status: int, headers: dict[str, str], body: Any) -> None:
    """Check status, headers and body of an answer against what is described for the path."""
    described = resolve(DOCUMENT["paths"][path]["post"]["responses"][str(status)])
    schema = described["content"]["application/json"]["schema"]["$ref"].removeprefix("#")
    validator(schema).validate(body)
    for name, header in described["headers"].items():
        header = resolve(header)
        assert name in headers or not header.get("required"), name
        if name in headers:
            check_header(headers[name], header["schema"])


def check_header(text: str, schema: dict[str, Any]) -> None:
    value = int(text) if schema["type"] == "integer" else text
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def exchange(
    server: Server, method: str, path: str, headers: Any, body: bytes
) -> tuple[int, dict[str, str], Any]:
    connection = HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    try:
        connection.putrequest(method, path)
        for name, value in headers:
            connection.putheader(name, value)
        connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        raw = answer.read()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, json.loads(raw)
    finally:
        connection.close()


def test_description_names_the_endpoints_of_the_service() -> None:
    assert set(DOCUMENT["paths"]) == set(handler.ENDPOINTS)
    for path, verb in handler.ENDPOINTS.items():
        reference = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        schema = resolve(reference["schema"])
        assert set(schema["properties"]) == set(bodies.MEMBERS[verb])
        assert schema["required"] == [bodies.REQUIRED[verb]]


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_every_reference_leads_somewhere_and_every_component_is_used() -> None:
    used = set(references(DOCUMENT))
    for reference in used:
        assert resolve({"$ref": reference})
    components = {
        f"#/components/{kind}/{name}"
        for kind, members in DOCUMENT["components"].items()
        if kind != "securitySchemes"
        for name in members
    }
    assert used == components


def test_every_schema_is_a_schema() -> None:
    for schema in DOCUMENT["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def examples() -> Iterator[tuple[str, Any]]:
    for path in DOCUMENT["paths"]:
        content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        for example in content["examples"].values():
            yield content["schema"]["$ref"].removeprefix("#"), example["value"]
    for response in DOCUMENT["components"]["responses"].values():
        content = response["content"]["application/json"]
        if "example" in content:
            yield content["schema"]["$ref"].removeprefix("#"), content["example"]


@pytest.mark.parametrize(("schema", "example"), list(examples()))
def test_examples_of_the_description_are_valid(schema: str, example: Any) -> None:
    validator(schema).validate(example)


@pytest.mark.parametrize("case", RECORDED, ids=[case["name"] for case in RECORDED])
def test_recorded_request(case: dict[str, Any], server: Server) -> None:
    status, headers, body = exchange(
        server, case["method"], case["path"], case["headers"], case["body"].encode()
    )
    assert status == case["status"], body
    check_answer(case["path"], status, headers, body)
    assert headers["x-promptlathe-simulated"] == "true"
    if status != 200:
        assert body["error"]["type"] == case["type"]
        assert case["message"] in body["error"]["message"]
        assert body["request_id"] == headers["request-id"]


def wrong_in_schema(case: dict[str, Any]) -> bool:
    """Whether the schema can see what the service refuses: it knows no headers, JSON nor order."""
    unseen = ("x-api-key", "prompt-tools-2025-04-02", "not valid JSON", "messages.0.role: ")
    return case["status"] != 200 and case["message"] not in unseen


@pytest.mark.parametrize("case", RECORDED, ids=[case["name"] for case in RECORDED])
def test_recorded_body_against_its_schema(case: dict[str, Any]) -> None:
    if case.get("message") == "not valid JSON":
        with pytest.raises(json.JSONDecodeError):
            json.loads(case["body"])
        return
    schema = validator(body_schema(case["path"]))
    assert schema.is_valid(json.loads(case["body"])) is not wrong_in_schema(case)


@pytest.mark.parametrize("case", MESSAGES, ids=[case["name"] for case in MESSAGES])
def test_messages_in_schema_and_service(case: dict[str, Any], server: Server) -> None:
    """Whatever the vectors say of messages holds on the wire; the schema sees all but the order."""
    body = {"messages": case["messages"]}
    # In Python a plain string stands for one user message; the wire has no such form.
    good = not case["errors"] and isinstance(case["messages"], list)
    status, headers, answer = exchange(
        server, "POST", IMPROVE, HEADERS.items(), json.dumps(body).encode()
    )
    check_answer(IMPROVE, status, headers, answer)
    assert (status == 200) is good
    for error in case["errors"] if isinstance(case["messages"], list) else ():
        assert f"{error['path']}: " in answer["error"]["message"]
    only_order = bool(case["errors"]) and all(
        error["code"] == "assistant_not_last" for error in case["errors"]
    )
    assert validator(body_schema(IMPROVE)).is_valid(body) is (good or only_order)


@pytest.mark.parametrize("status", [400, 401, 404, 413, 415, 429, 500, 529])
def test_scripted_errors_are_as_described(status: int) -> None:
    with Server() as server:
        server.script([{"status": status}])
        got, headers, body = exchange(server, "POST", GENERATE, HEADERS.items(), b'{"task":"a"}')
    assert got == status
    check_answer(GENERATE, status, headers, body)
    assert body["type"] == "error"
