"""schemathesis makes requests from the description and looks at what the simulated service does.

Bounded and with a fixed seed, so that each run is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from promptlathe.mock import Server
from schemathesis import GenerationMode
from schemathesis.core.result import Err

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/openapi.json"
SCHEMA = schemathesis.openapi.from_path(DOCUMENT)
OPERATIONS = {
    result.ok().label: result.ok()
    for result in SCHEMA.get_all_operations()
    if not isinstance(result, Err)
}
KEY = {"x-api-key": "the-only-key"}

bounded = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(api_key=KEY["x-api-key"]) as server:
        yield server
    assert server.errors == []


def test_every_operation_is_looked_at() -> None:
    assert len(OPERATIONS) == 3


def order(body: Any) -> Any:
    """Bring messages into the order that the description can only tell in words."""
    if isinstance(body, dict) and isinstance(body.get("messages"), list):
        users = [message for message in body["messages"] if message["role"] == "user"]
        assistants = [message for message in body["messages"] if message["role"] == "assistant"]
        body = {**body, "messages": users + assistants[:1]}
    return body


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_description_allows_is_answered(label: str, server: Server) -> None:
    seen: dict[int, int] = {}

    @bounded
    @given(case=OPERATIONS[label].as_strategy(generation_mode=GenerationMode.POSITIVE))
    def run(case: schemathesis.Case) -> None:
        case.body = order(case.body)
        answer = case.call_and_validate(base_url=server.url, headers=KEY)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1

    run()
    assert seen.keys() == {200}, seen


@pytest.mark.parametrize("label", OPERATIONS)
def test_what_the_description_forbids_is_refused(label: str, server: Server) -> None:
    seen: dict[int, int] = {}

    @bounded
    @given(case=OPERATIONS[label].as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def run(case: schemathesis.Case) -> None:
        answer = case.call_and_validate(base_url=server.url, headers=KEY)
        seen[answer.status_code] = seen.get(answer.status_code, 0) + 1

    run()
    assert seen.get(400, 0) > 10, seen
    assert 200 not in seen, seen
