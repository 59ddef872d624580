"""A short walk along each path of the extension, to be run under valgrind as well.

What the answers mean is tested elsewhere; here each path is taken a few times, also those that end
halfway, so that a block read after its end or lost for good shows.
"""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import promptlathe
import pytest
from promptlathe import Client
from promptlathe.mock import Server

pytestmark = pytest.mark.valgrind

TASK = "Translate hello to German"
ROUNDS = 3
# Many faults at once, some with a path or a text that has to be copied.
FAULTY: list[Any] = [
    {"role": "assistant", "content": []},
    {"role": "system", "content": [{"type": "image"}, {"type": "text"}, 1], "näme": 1, 5: 6},
    {"content": [{"type": "text", "text": "\ud800", "cache_control": {}}]},
    None,
]


@pytest.fixture
def client(promptlathe_server: Server) -> Iterator[Client]:
    with Client(timeout=None) as made:
        yield made


def test_three_calls(client: Client) -> None:
    for _ in range(ROUNDS):
        assert client.generate(TASK)["messages"]
        assert client.improve(TASK, feedback="shorter", system="Be kind.")["messages"]
        answer = client.templatize(TASK, system="An é, a 漢 and a 🦀: 42")
        assert promptlathe.check_round_trip(TASK, answer, system="An é, a 漢 and a 🦀: 42") == []


def test_raw_responses(client: Client) -> None:
    for _ in range(ROUNDS):
        raw = client.with_raw_response.generate(TASK)
        assert raw.status == 200 and raw.headers["content-type"] and raw.request_id
        assert raw.data["messages"] and raw.attempts == 1 and raw.elapsed > 0


def test_input_that_is_refused(client: Client) -> None:
    for _ in range(ROUNDS):
        with pytest.raises(promptlathe.InvalidRequestError) as caught:
            client.improve(FAULTY, target_model="")
        assert caught.value.total == len(caught.value.errors) > 8


def test_more_faults_than_are_kept() -> None:
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages([{"role": number} for number in range(700)])
    assert caught.value.total == 1400 and len(caught.value.errors) == 1000


@pytest.mark.parametrize("status", [302, 400, 404, 429, 529])
def test_statuses(promptlathe_server: Server, client: Client, status: int) -> None:
    promptlathe_server.script([{"status": status, "headers": {"location": "/there"}}] * ROUNDS)
    for _ in range(ROUNDS):
        with pytest.raises(promptlathe.APIStatusError) as caught:
            client.with_options(max_retries=0).generate(TASK)
        assert caught.value.status_code == status
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(copy.copy(caught.value))


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"messages": [{"role": "user"', b"[1e999]"])
def test_answers_that_cannot_be_used(
    promptlathe_server: Server, client: Client, body: bytes
) -> None:
    promptlathe_server.script([{"body": body}] * ROUNDS)
    for _ in range(ROUNDS):
        with pytest.raises(promptlathe.APIResponseValidationError):
            client.generate(TASK)


def test_an_answer_with_every_kind_of_value(promptlathe_server: Server, client: Client) -> None:
    usage = {"list": [1, -2.5, True, None, "é" * 300], "deep": [[[[{}]]]], "nul": "\0"}
    answer = {"messages": [{"role": "user", "content": "x"}], "system": "", "usage": usage}
    promptlathe_server.script([{"body": answer}] * ROUNDS)
    for _ in range(ROUNDS):
        assert client.generate(TASK) == answer


def test_retries(promptlathe_server: Server, client: Client) -> None:
    busy = {"status": 429, "headers": {"retry-after-ms": "1"}}
    for _ in range(ROUNDS):
        promptlathe_server.script([busy, {"close": True}])
        assert client.with_raw_response.generate(TASK).attempts == 3


def test_an_address_where_nobody_listens() -> None:
    with Server() as gone:
        url = gone.url
    with Client("any", base_url=url, max_retries=0) as client:
        for _ in range(ROUNDS):
            with pytest.raises(promptlathe.APIConnectionError) as caught:
                client.generate(TASK)
            assert caught.value.phase == "connect" and caught.value.times


def test_time_that_runs_out(promptlathe_server: Server, client: Client) -> None:
    never = threading.Event()
    promptlathe_server.script([{"until": never}])
    with pytest.raises(promptlathe.APITimeoutError):
        client.generate(TASK, timeout=0.2, max_retries=0)
    never.set()


def test_close_during_a_call(promptlathe_server: Server, client: Client) -> None:
    arrived, never = threading.Event(), threading.Event()

    def hold(request: Any) -> dict[str, Any]:
        arrived.set()
        return {"until": never}

    def close() -> None:
        arrived.wait()
        client.close()

    promptlathe_server.script([hold])
    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(promptlathe.ClientClosedError):
        client.generate(TASK)
    closer.join()
    never.set()


def test_many_threads_on_one_client(client: Client) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(client.generate(TASK))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 8 and all(answer == answers[0] for answer in answers)


def test_maps(promptlathe_server: Server, client: Client) -> None:
    asked = {"verb": "generate", "task": TASK}
    wrong: Any = [asked, {"verb": "näme"}, 5, {**asked, "betas": 5}, {"verb": 6}, {5: 6}]
    for _ in range(ROUNDS):
        assert len(list(client.map([asked] * 5, concurrency=2))) == 5
        given = list(client.map(wrong, ordered=False, return_exceptions=True))
        assert sorted(index for index, _ in given) == list(range(6))
        promptlathe_server.script([{"status": 429, "headers": {"retry-after-ms": "1"}}, None])
        results = client.map(iter([asked, asked, 5]), concurrency=1)
        assert next(results) == next(results)
        with pytest.raises(TypeError):
            next(results)
        assert next(results, None) is None


def test_maps_that_end_early(promptlathe_server: Server, client: Client) -> None:
    never = threading.Event()
    asked = {"verb": "generate", "task": TASK}

    def requests() -> Iterator[Any]:
        yield from [asked] * 3
        raise KeyboardInterrupt

    for leave in (lambda results: results.close(), lambda results: None):
        promptlathe_server.script([None, {"until": never}, {"until": never}])
        results = client.map([asked] * 5, concurrency=1)
        next(results)
        leave(results)
    with pytest.raises(KeyboardInterrupt):
        list(client.map(requests()))
    results = client.map([asked] * 9)
    client.close()
    with pytest.raises(promptlathe.ClientClosedError):
        list(results)
    never.set()


def test_copies_and_their_ends(promptlathe_server: Server) -> None:
    for _ in range(ROUNDS):
        original = Client()
        copied = original.with_options(betas=["b-1"], default_headers={"x-a": "b"}, timeout=9)
        assert copied.generate(TASK, extra_headers={"x-a": "c"}) and copied.rate_limits is not None
        original.close()
        with pytest.raises(promptlathe.ClientClosedError):
            copied.generate(TASK)


@pytest.mark.parametrize(
    "options",
    [
        {"api_key": "a\nb"},
        {"api_key": "a", "auth_token": "b"},
        {"base_url": "ftp://x"},
        {"ca_file": "/nowhere/at/all"},
        {"default_headers": {"host": "x"}},
        {"timeout": -1},
    ],
)
def test_options_that_are_refused(options: dict[str, Any]) -> None:
    for _ in range(ROUNDS):
        with pytest.raises((promptlathe.ConfigurationError, ValueError, TypeError)):
            Client(**({"api_key": "any"} | options))


def test_legacy_prompts() -> None:
    good = "System. é\n\nHuman: 漢 {{A}}\n\nAssistant: Well"
    for _ in range(ROUNDS):
        assert promptlathe.convert_completion_prompt(good)["system"] == "System. é"
        assert promptlathe.sanitize_completion_prompt(f"\r\n{good[11:]} \n")[1]
        with pytest.raises(promptlathe.InvalidPromptError):
            promptlathe.validate_completion_prompt("\nHuman : x\r\n\r\nassistant:")
        long = good + "x" * 100_000
        with pytest.raises(promptlathe.InvalidPromptError):
            promptlathe.validate_completion_prompt(long)
        assert promptlathe.validate_completion_prompt(long, count_tokens=lambda text: 5) is long
        with pytest.raises(ZeroDivisionError):
            promptlathe.validate_completion_prompt(long, count_tokens=lambda text: 1 // 0)


def test_templates() -> None:
    prompt = [{"role": "user", "content": [{"type": "text", "text": "{{A}} {{ B }} {{A}} {{é}}"}]}]
    for _ in range(ROUNDS):
        assert promptlathe.find_variables(prompt) == ["A", "B"]
        assert promptlathe.render("{{A}}-{{B}}", {"A": "🦀" * 50}, partial=True).endswith("{{B}}")
        assert promptlathe.render(prompt, {"A": "1", "B": "2"}) != prompt
        with pytest.raises(promptlathe.MissingVariableError) as caught:
            promptlathe.render(prompt, {})
        assert caught.value.names == ["A", "B"]
        with pytest.raises(TypeError):
            promptlathe.render(prompt, {"A": 1, "B": b"2"})  # type: ignore[dict-item]
