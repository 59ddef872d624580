"""The options of a client that asks a model, and what its calls raise, warn of, log and leave."""

from __future__ import annotations

import asyncio
import copy
import gc
import io
import logging
import os
import pickle
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promptlathe
import pytest
from messages_server import (
    MODEL,
    USAGE,
    answer,
    client_of,
    prompt,
    refuses,
    says,
    scripted,
    spans,
)
from promptlathe import (
    APIError,
    AsyncClient,
    Client,
    ClientClosedError,
    ConfigurationError,
    ModelAnswerError,
    RawResponse,
    VariablesChangedError,
)
from promptlathe.mock import Request, Server
from test_secrecy import assert_hidden, everything_shown

KEY = "sk-lathe-0123456789abcdef/+="
TASK = "Write a limerick about the zeppelin of Friedrichshafen"
ANSWERED = "an answer with the words of a balloonist"
GOOD = says(prompt("Hi {{A}}"))
BAD = says(ANSWERED)
WAIT = 10  # seconds that nothing here comes near


@pytest.fixture
def server() -> Iterator[Server]:
    """A server, and no word of it in the environment."""
    with Server() as running:
        yield running


# ---- Which they are, and which values they take -------------------------------------------------


def test_options_of_the_client(server: Server) -> None:
    server.script([GOOD] * 5)
    with client_of(server, max_tokens=100, effort="thorough") as client:
        client.generate(TASK)
        client.generate(TASK, max_tokens=200)
        with client.with_options(max_tokens=300, model="another") as other:
            other.generate(TASK)
            with other.with_options(timeout=5) as third:
                third.generate(TASK)
        list(client.map([{"verb": "generate", "task": TASK, "max_tokens": 400}]))
    sent = [(request.json["model"], request.json["max_tokens"]) for request in server.requests]
    assert sent == [(MODEL, 100), (MODEL, 200), ("another", 300), ("another", 300), (MODEL, 400)]


FOUR = [says("<result_examples></result_examples>"), *[says(prompt("Say it"))] * 3]


def test_effort_of_client_copy_call_and_map(server: Server) -> None:
    def requests(*steps: Any) -> Callable[[Any], int]:
        server.reset()
        server.script(steps)
        return lambda _: len(server.requests)

    with client_of(server, effort="thorough") as client:
        assert requests(*FOUR)(client.improve("Say it")) == 4
        assert requests(FOUR[3])(client.improve("Say it", effort="fast")) == 1
        with client.with_options(effort="fast") as copy:
            assert requests(FOUR[3])(copy.improve("Say it")) == 1
            request: dict[str, Any] = {"verb": "improve", "messages": "Say it"}
            assert requests(*FOUR)(list(copy.map([request | {"effort": "thorough"}]))) == 4


def test_on_variable_change_of_client_copy_call_and_map(server: Server) -> None:
    broken = [says(prompt("none"))] * 2
    keep: Any = "keep_original"
    with client_of(server, on_variable_change=keep) as client:
        server.script(broken * 4)
        kept = client.improve("Say {{A}}")
        with pytest.raises(VariablesChangedError):
            client.improve("Say {{A}}", on_variable_change="raise")
        with client.with_options(on_variable_change="raise") as copy:
            with pytest.raises(VariablesChangedError):
                copy.improve("Say {{A}}")
            request = {"verb": "improve", "messages": "Say {{A}}", "on_variable_change": keep}
            assert list(copy.map([request])) == [kept]
    assert kept["messages"] == promptlathe.validate_messages("Say {{A}}")


NO_STRINGS = [5, b"x", ["x"], True]
WRONG: dict[str, tuple[list[Any], list[Any]]] = {
    "model": (NO_STRINGS, ["", "x" * 257, "a\0b", "\ud800"]),
    "max_tokens": ([None, "5", 1.5, True, []], [0, -1, 10**9 + 1, 2**70]),
    "effort": ([None, *NO_STRINGS], ["", "Fast", "slow", "fast "]),
    "on_variable_change": ([None, *NO_STRINGS], ["", "keep", "ignore"]),
    "instructions": ([5, ["x"], True], ["", "a\0b", "no/such/folder"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_options(server: Server, name: str) -> None:
    """Of a wrong type or value, wherever they are given; nothing is sent."""
    types, values = WRONG[name]
    with client_of(server) as client:
        anything: Any = client
        request = {"verb": "generate", "task": TASK}
        makers: list[Callable[[Any], Any]] = [
            lambda value: client_of(server, **{name: value}),
            lambda value: AsyncClient(base_url=server.url, **{"model": MODEL, name: value}),
            lambda value: anything.with_options(**{name: value}),
        ]
        if name != "model":
            makers += [
                lambda value: anything.generate(TASK, **{name: value}),
                lambda value: list(anything.map([request | {name: value}])),
            ]
        for make in makers:
            for kind, wrong in ((TypeError, types), (ConfigurationError, values)):
                for value in wrong:
                    with pytest.raises(kind, match=name) as caught:
                        make(value)
                    assert type(caught.value) is kind, (name, value)
    assert server.requests == []


@pytest.mark.parametrize("model", ["x", "é" * 256, "anthropic/claude:1", "C:\\models\\a b.gguf"])
def test_names_of_models(model: str) -> None:
    with scripted(GOOD, model=model) as (server, client):
        client.generate(TASK)
        assert server.requests[0].json["model"] == model


def test_model_is_no_option_of_a_call(server: Server) -> None:
    with client_of(server) as client:
        anything: Any = client
        with pytest.raises(TypeError, match="model"):
            anything.generate(TASK, model="x")
        with pytest.raises(TypeError, match="model"):
            list(anything.map([{"verb": "generate", "task": TASK, "model": "x"}]))


# ---- With and without a model -------------------------------------------------------------------


def test_copies_may_change_over(server: Server) -> None:
    with Client(KEY, base_url=server.url) as client:
        server.script([GOOD, None])
        with client.with_options(model=MODEL) as over_a_model:
            over_a_model.generate(TASK)
            with over_a_model.with_options(model=None) as documented:
                documented.generate(TASK)
    paths = [request.path for request in server.requests]
    assert paths == ["/v1/messages", "/v1/experimental/generate_prompt"]
    betas = [request.headers.get("anthropic-beta") for request in server.requests]
    assert betas == [None, "prompt-tools-2025-04-02"]
    assert {request.headers["x-api-key"] for request in server.requests} == {KEY}


def test_a_copy_keeps_the_other_options_for_a_later_model(server: Server) -> None:
    with Client(KEY, base_url=server.url, max_tokens=77) as client:
        server.script([GOOD])
        with client.with_options(model=MODEL) as copy:
            copy.generate(TASK)
    assert server.requests[0].json["max_tokens"] == 77


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "127.1.2.3"])
def test_no_key_is_needed_on_loopback(host: str) -> None:
    Client(base_url=f"http://{host}:1", model=MODEL).close()
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        Client(base_url=f"http://{host}:1")


@pytest.mark.parametrize("url", [None, "https://gateway.example", "http://192.0.2.1"])
def test_a_key_is_needed_elsewhere(url: str | None) -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
        Client(base_url=url, model=MODEL, allow_http=True)
    Client(KEY, base_url=url, model=MODEL, allow_http=True).close()


def test_a_key_is_needed_for_a_copy_without_a_model(server: Server) -> None:
    with client_of(server) as client:
        with pytest.raises(ConfigurationError, match="ANTHROPIC_API_KEY"):
            client.with_options(model=None)
        server.script([GOOD])
        client.generate(TASK)  # as good as before


@pytest.mark.parametrize("option", ["api_key", "auth_token"])
def test_a_key_is_sent_where_there_is_one(option: str) -> None:
    with scripted(GOOD, **{option: KEY}) as (server, client):
        client.generate(TASK)
        headers = server.requests[0].headers
        holding = {name: value for name, value in headers.items() if KEY in value}
        assert holding in ({"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"})


def test_betas_and_headers(server: Server) -> None:
    """Only the caller's own betas; the one of the documented endpoints when it is asked for."""
    server.script([GOOD] * 3)
    with client_of(server, betas=["one"], default_headers={"x-a": "1"}) as client:
        client.generate(TASK)
        client.generate(TASK, betas=["two", "one"], extra_headers={"X-A": "2"})
        client.generate(TASK, betas=["prompt-tools-2025-04-02"])
    sent = [request.headers["anthropic-beta"] for request in server.requests]
    assert sent == ["one", "one,two", "one,prompt-tools-2025-04-02"]
    assert [request.headers["x-a"] for request in server.requests] == ["1", "2", "1"]


def test_a_path_of_the_base_url_is_kept(server: Server) -> None:
    server.script([GOOD])
    with Client(base_url=f"{server.url}/gateway/", model=MODEL) as client:
        client.generate(TASK)
    assert server.requests[0].path == "/gateway/v1/messages"


def test_a_base_url_that_ends_in_v1_is_told_of(server: Server) -> None:
    with Client(KEY, base_url=f"{server.url}/v1", model=MODEL) as client:
        with pytest.raises(promptlathe.NotFoundError, match="base_url ends in /v1"):
            client.generate("a task")
    with Client(KEY, base_url=f"{server.url}/other", model=MODEL) as client:
        with pytest.raises(promptlathe.NotFoundError) as caught:
            client.generate("a task")
    assert "base_url" not in str(caught.value)


def vendor(server: Server, **options: Any) -> Client:
    """A client of the vendor's host, for which a proxy answers."""
    url = "http://api.anthropic.com"
    return Client(KEY, base_url=url, proxy=server.url, allow_http=True, max_retries=0, **options)


GONE = {
    "status": 404,
    "body": {"type": "error", "error": {"type": "not_found_error", "message": "no such model"}},
}


def test_the_error_of_a_retired_endpoint_names_this_way_out(server: Server) -> None:
    server.script([GONE])
    with vendor(server) as client:
        with pytest.raises(promptlathe.EndpointRetiredError, match=r"Client\(model=\.\.\.\)"):
            client.generate(TASK)


def test_a_model_that_the_vendor_does_not_know(server: Server) -> None:
    server.script([GONE])
    with vendor(server, model="no-such-model") as client:
        with pytest.raises(promptlathe.NotFoundError) as caught:
            client.generate(TASK)
    assert type(caught.value) is promptlathe.NotFoundError and "no such model" in str(caught.value)


# ---- Instructions -------------------------------------------------------------------------------


def test_instructions_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "generate.txt").write_text("Mine, für alle: <result_prompt>")
    (tmp_path / "notes.md").write_text("not a text of ours")
    with scripted(*[GOOD] * 4, instructions=tmp_path) as (server, client):
        raw = client.with_raw_response.generate(TASK)
        assert raw.instructions == "1+custom"
        client.improve("Say {{A}}")
        assert client.with_raw_response.generate(TASK, instructions=None).instructions == "1"
        with client.with_options(instructions=None) as copy:
            copy.generate(TASK)
        systems = [request.json["system"] for request in server.requests]
    assert systems[0] == "Mine, für alle: <result_prompt>"
    assert systems[1].startswith("You improve prompts")
    assert systems[2] == systems[3] and systems[2].startswith("You write prompts")


def test_instructions_of_a_call_and_of_a_request_of_map(tmp_path: Path) -> None:
    (tmp_path / "generate.txt").write_text("Mine")
    (tmp_path / "again.txt").write_text("Once more: ")
    (tmp_path / "version.txt").write_text("\nhouse 7\nwith a comment\n")
    steps = [BAD, GOOD, GOOD]
    with scripted(*steps) as (server, client):
        raw = client.with_raw_response.generate(TASK, instructions=str(tmp_path))
        assert raw.instructions == "house 7"
        list(client.map([{"verb": "generate", "task": TASK, "instructions": tmp_path}]))
        assert {request.json["system"] for request in server.requests} == {"Mine"}
        assert (
            server.requests[1].json["messages"][2]["content"].startswith("Once more: the section")
        )


def test_instructions_are_read_when_the_client_is_made(tmp_path: Path) -> None:
    text = tmp_path / "generate.txt"
    text.write_text("Mine")
    with scripted(GOOD, instructions=tmp_path) as (server, client):
        text.unlink()
        tmp_path.rmdir()
        client.generate(TASK)
        assert server.requests[0].json["system"] == "Mine"


def _file(name: str, data: bytes) -> Callable[[Path], Any]:
    return lambda folder: (folder / name).write_bytes(data)


BAD_FOLDERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "nothing": (lambda folder: None, "holds none of the texts"),
    "no text of ours": (_file("readme.md", b"x"), "holds none of the texts"),
    "another name": (_file("generat.txt", b"x"), "generat.txt: no such text: they are generate.t"),
    "empty": (_file("improve.txt", b""), "improve.txt: it is empty"),
    "blank": (_file("improve.txt", b" \n"), "improve.txt: it is empty"),
    "latin-1": (_file("improve.txt", b"f\xfcr"), "improve.txt: it is no text in UTF-8"),
    "NUL": (_file("improve.txt", b"a\0b"), "improve.txt: it is no text in UTF-8"),
    "large": (_file("improve.txt", b"x" * (1 << 20) + b"x"), "improve.txt: it is larger than 1"),
    "a folder": (lambda folder: (folder / "improve.txt").mkdir(), "improve.txt: Is a directory"),
    "a pipe": (lambda folder: os.mkfifo(folder / "improve.txt"), "improve.txt: it is no regular"),
}


@pytest.mark.parametrize(("make", "said"), BAD_FOLDERS.values(), ids=BAD_FOLDERS.keys())
def test_folders_that_cannot_be_used(
    server: Server, tmp_path: Path, make: Callable[[Path], Any], said: str
) -> None:
    make(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        client_of(server, instructions=tmp_path)
    assert str(caught.value).startswith("instructions: ") and said in str(caught.value)
    with client_of(server) as client:
        with pytest.raises(ConfigurationError, match=r"^instructions: "):
            client.generate(TASK, instructions=tmp_path)
        with pytest.raises(ConfigurationError, match=r"^instructions: "):
            client.with_options(instructions=tmp_path)


def test_a_file_in_place_of_a_folder_and_a_name_of_bytes(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigurationError, match="file: Not a directory"):
        client_of(server, instructions=tmp_path / "file")
    with pytest.raises(ConfigurationError, match="No such file"):
        client_of(server, instructions=os.fsdecode(b"\xff\xfe"))


def test_the_built_in_texts_are_those_of_the_project(root: Path) -> None:
    """As they stand in their files, which together are a folder like a user's."""
    folder = root / "csrc/instructions"
    subprocess.run([sys.executable, folder / "embed.py", "--check"], check=True)
    with scripted(GOOD, GOOD) as (server, client):
        client.generate(TASK)
        raw = client.with_raw_response.generate(TASK, instructions=folder)
        systems = [request.json["system"] for request in server.requests]
    assert systems == [(folder / "generate.txt").read_text()] * 2
    assert raw.instructions == (folder / "version.txt").read_text().strip()


# ---- Raw responses ------------------------------------------------------------------------------


def test_a_raw_response() -> None:
    first, last = answer(ANSWERED, id="one"), answer(spans(("W", "hello"), ("X", "z")), id="two")
    steps = [
        {"body": first, "headers": {"request-id": "req_1"}},
        {"status": 500, "headers": {"retry-after-ms": "1"}},
        {"body": last, "headers": {"request-id": "req_3", "x-mine": "yes"}},
    ]
    with scripted(*steps, max_retries=1) as (_, client):
        raw = client.with_raw_response.templatize("say hello")
    assert raw.answers == [first, last]
    assert raw.notes == [
        {
            "code": "not_found",
            "message": "it does not stand in the prompt",
            "name": "X",
            "text": "z",
        }
    ]
    assert (raw.instructions, raw.status, raw.attempts) == ("1", 200, 3)
    assert (raw.request_id, raw.headers["x-mine"]) == ("req_3", "yes")
    assert raw.data["usage"] == {"input_tokens": 20, "output_tokens": 10}
    for twin in (pickle.loads(pickle.dumps(raw)), copy.copy(raw), copy.deepcopy(raw)):
        assert type(twin) is RawResponse
        for name in ("data", "answers", "notes", "instructions", "attempts", "elapsed", "headers"):
            assert getattr(twin, name) == getattr(raw, name)


def test_elapsed_is_of_all_requests() -> None:
    with scripted(BAD | {"delay": 0.3}, GOOD | {"delay": 0.3}) as (_, client):
        assert client.with_raw_response.generate(TASK).elapsed >= 0.6


def test_a_raw_response_without_a_model(server: Server) -> None:
    with Client(KEY, base_url=server.url) as client:
        raw = client.with_raw_response.generate(TASK)
    assert (raw.answers, raw.notes, raw.instructions) == (None, None, None)
    assert pickle.loads(pickle.dumps(raw)).answers is None


def test_a_raw_response_may_be_made_as_before() -> None:
    raw: RawResponse[Any] = RawResponse({}, 200, {}, None, 1, 0.5)
    assert (raw.answers, raw.notes, raw.instructions) == (None, None, None)


def test_a_raw_response_notes_what_was_kept() -> None:
    steps = [says(prompt("none {{B}}"))] * 2
    with scripted(*steps) as (_, client):
        raw = client.with_raw_response.improve("Say {{A}}", on_variable_change="keep_original")
    assert raw.notes is not None
    (note,) = raw.notes
    assert note["code"] == "variables_changed"
    assert "missing are {{A}}" in note["message"] and "new are {{B}}" in note["message"]


# ---- Errors -------------------------------------------------------------------------------------


def unusable(**options: Any) -> ModelAnswerError:
    steps = [
        BAD,
        {"body": answer(ANSWERED), "headers": {"request-id": "req_2", "x-mine": "yes"}},
    ]
    with scripted(*steps, **options) as (_, client):
        with pytest.raises(ModelAnswerError) as caught:
            client.generate(TASK)
    return caught.value


def changed() -> VariablesChangedError:
    steps = [says(prompt("the words of a balloonist {{B}}"))] * 2
    with scripted(*steps) as (_, client):
        with pytest.raises(VariablesChangedError) as caught:
            client.improve("the zeppelin {{A}}")
    return caught.value


def test_fields_of_an_error() -> None:
    error = unusable()
    assert (error.type, error.answer) == ("unparsable", ANSWERED)
    assert error.usage == {"input_tokens": 20, "output_tokens": 10}
    assert (error.request_id, error.headers["x-mine"]) == ("req_2", "yes")
    assert (error.attempts, error.message) == (2, str(error))
    assert isinstance(error, APIError) and not isinstance(error, ValueError)


def test_an_error_without_its_fields() -> None:
    error = ModelAnswerError("made by hand")
    assert (error.type, error.answer, error.request_id) == (None, None, None)
    assert (dict(error.usage), dict(error.headers)) == ({}, {})
    changed = VariablesChangedError("made by hand")
    assert (list(changed.lost), list(changed.won)) == ([], [])


@pytest.mark.parametrize("make", [unusable, changed])
def test_errors_quote_neither_answer_nor_request(make: Callable[[], ModelAnswerError]) -> None:
    error = make()
    shown = "".join([str(error), repr(error), *traceback.format_exception_only(error)])
    for word in ("zeppelin", "balloonist", "{{A}}", "{{B}}"):
        assert word not in shown


@pytest.mark.parametrize(
    "message",
    [
        "Invalid model name passed in model=a-model-of-ours",
        "output tokens: the whole prompt, with its variables",  # words of our instructions
        "extra: result_prefill, additionalProperties",
    ],
)
def test_what_a_service_says_of_model_and_instructions_is_shown(message: str) -> None:
    with scripted(refuses(404, message), model="a-model-of-ours") as (_, client):
        with pytest.raises(promptlathe.NotFoundError) as caught:
            client.generate(TASK)
    assert message in str(caught.value)


def test_what_a_service_repeats_of_the_callers_is_not_shown(tmp_path: Path) -> None:
    """The task, what the model wrote when it is shown that again, and instructions of the caller."""
    (tmp_path / "generate.txt").write_text("Speak of gas balloons")
    (tmp_path / "again.txt").write_text("Now, with helium: ")
    for steps, said in (
        ([], TASK),
        ([], "Speak of gas balloons"),
        ([BAD], ANSWERED),
        ([BAD], "with helium: "),
        ([BAD], TASK),
    ):
        said = f"not understood: {said[:20]}"
        with scripted(*steps, refuses(400, said), instructions=tmp_path) as (_, client):
            with pytest.raises(promptlathe.BadRequestError) as caught:
                client.generate(TASK)
        assert said not in str(caught.value) and "quotes the request" in str(caught.value)
        assert caught.value.message == said
    with scripted(
        says("<result_examples>the first of many</result_examples>"),
        refuses(400, "what is: the first of many?"),
    ) as (_, client):
        with pytest.raises(promptlathe.BadRequestError, match="quotes the request"):
            client.improve(TASK, effort="thorough")


@pytest.mark.parametrize("make", [unusable, changed])
def test_copies_of_errors_are_without_the_answer(make: Callable[[], ModelAnswerError]) -> None:
    error = make()
    error.add_note("noted")
    assert "balloonist" in str(error.answer)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        pickled = pickle.dumps(error, protocol)
        assert b"balloonist" not in pickled and b"zeppelin" not in pickled
        assert_twin(pickle.loads(pickled), error)
    assert_twin(copy.copy(error), error)
    assert_twin(copy.deepcopy(error), error)
    assert "balloonist" in str(error.answer)  # and the error itself still has it


def assert_twin(twin: Any, error: ModelAnswerError) -> None:
    assert type(twin) is type(error) and str(twin) == str(error) and twin.answer is None
    kept = {name: value for name, value in vars(error).items() if name != "answer"}
    assert {name: value for name, value in vars(twin).items() if name != "answer"} == kept


@pytest.mark.parametrize("option", ["api_key", "auth_token"])
def test_errors_do_not_carry_the_key(option: str) -> None:
    """Of a service that echoes it in headers, in the answer's text and elsewhere in its body."""
    headers = {"request-id": f"req_{KEY}", "x-echo": KEY}
    echo = {
        "body": answer(f"You sent {KEY}", id=KEY, usage={"seen": KEY, KEY: 1}),
        "headers": headers,
    }
    with scripted(echo, echo, **{option: KEY}) as (_, client):
        with pytest.raises(ModelAnswerError) as caught:
            client.generate(TASK)
        assert caught.value.answer == "You sent " + "*" * len(KEY)
        assert_hidden(KEY, everything_shown(caught.value))
    no_answer = {"body": {"content": 5, "echo": KEY}, "headers": headers}
    with scripted(echo, no_answer, **{option: KEY}) as (_, client):
        with pytest.raises(promptlathe.APIResponseValidationError) as of_shape:
            client.generate(TASK)
        assert of_shape.value.body == {"content": 5, "echo": "*" * len(KEY)}
        assert_hidden(KEY, everything_shown(of_shape.value))
    broken = {"body": answer(prompt(KEY)), "headers": headers}
    with scripted(broken, broken, **{option: KEY}) as (_, client):
        with pytest.raises(VariablesChangedError) as of_variables:
            client.improve("Say {{A}}")
        assert_hidden(KEY, everything_shown(of_variables.value))


# ---- Warnings -----------------------------------------------------------------------------------

BROKEN = [says(prompt("none {{B}} {{C}}"))] * 2
WARNING = "the result has other variables: the model left out 1 and added 2"


def by_call(client: Client) -> Any:
    return client.improve("Say {{A}}", on_variable_change="warn")


def by_raw(client: Client) -> Any:
    raw = client.with_raw_response.improve("Say {{A}}", on_variable_change="warn")
    assert raw.notes is not None and [note["code"] for note in raw.notes] == ["variables_changed"]
    return raw.data


ASKED: dict[str, Any] = {"verb": "improve", "messages": "Say {{A}}", "on_variable_change": "warn"}


def by_map(client: Client) -> Any:
    return next(iter(client.map([ASKED])))


def by_async(client: Client) -> Any:
    async def main() -> Any:
        async with AsyncClient(base_url=client.base_url, model=MODEL) as other:
            return await other.improve("Say {{A}}", on_variable_change="warn")

    return asyncio.run(main())


def by_async_map(client: Client) -> Any:
    async def main() -> Any:
        async with AsyncClient(base_url=client.base_url, model=MODEL) as other:
            return await anext(other.map([ASKED]))

    return asyncio.run(main())


@pytest.mark.parametrize("call", [by_call, by_raw, by_map, by_async, by_async_map])
def test_warn(call: Callable[[Client], Any]) -> None:
    """The result comes with a UserWarning; where warnings are errors, that is raised in its place."""
    with scripted(*BROKEN, *BROKEN, GOOD) as (_, client):
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            result = call(client)
        assert [(str(each.message), each.category) for each in seen] == [(WARNING, UserWarning)]
        assert result["messages"][0]["content"][0]["text"] == "none {{B}} {{C}}"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(UserWarning, match=WARNING):
                call(client)
        client.generate(TASK)  # as good as before


def test_a_warning_that_is_an_error_is_the_result_of_its_request() -> None:
    """With return_exceptions, as any other."""
    with scripted(*BROKEN, says(prompt("Say {{A}}"))) as (_, client):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            results = list(client.map([ASKED, ASKED], concurrency=1, return_exceptions=True))
    assert [type(result) for result in results] == [UserWarning, dict]


# ---- Logs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("log_bodies", [False, True])
def test_logs(caplog: pytest.LogCaptureFixture, log_bodies: bool) -> None:
    """Bodies only when asked for, keys never; the attempts of each request count from 1."""
    caplog.set_level(1)
    with scripted(BAD, GOOD, BAD, BAD, log_bodies=log_bodies, api_key=KEY) as (_, client):
        client.generate(f"{TASK} {KEY}")
        with pytest.raises(ModelAnswerError):
            client.generate(TASK)
    assert ("zeppelin" in caplog.text) == ("Hi {{A}}" in caplog.text) == log_bodies
    assert_hidden(KEY, [caplog.text])
    infos = [each.getMessage() for each in caplog.records if each.levelno == logging.INFO]
    assert infos[0].startswith("generate: ok, status 200, 2 attempts")
    assert infos[1].startswith("generate: ModelAnswerError, status 200, 2 attempts")
    attempts = [each.getMessage() for each in caplog.records if ": attempt " in each.getMessage()]
    assert [text.split(":")[1] for text in attempts] == [" attempt 1"] * 4


# ---- The end of calls that are between two requests ---------------------------------------------


def held(event: threading.Event) -> list[Any]:
    """The first answer is unusable; the second comes when the event is set."""
    return [BAD, GOOD | {"until": event}]


def wait_for(server: Server, count: int) -> None:
    server.wait_for_requests(count, timeout=WAIT)


def test_ctrl_c_in_the_second_request(server: Server) -> None:
    release = threading.Event()
    server.script(held(release))

    def interrupt() -> None:
        wait_for(server, 2)
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    with client_of(server) as client:
        sender.start()
        with pytest.raises(KeyboardInterrupt):
            client.generate(TASK)
        sender.join()
        release.set()
        server.script([GOOD])
        assert client.generate(TASK)["usage"] == USAGE


def test_close_in_the_second_request(server: Server) -> None:
    release = threading.Event()
    server.script(held(release))
    client = client_of(server)

    def close() -> None:
        wait_for(server, 2)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(ClientClosedError):
        client.generate(TASK)
    closer.join()
    release.set()
    with pytest.raises(ClientClosedError):
        client.generate(TASK)


def test_close_at_any_moment(server: Server) -> None:
    """Threads that call without end all end by it, wherever between two requests they are."""

    def model(request: Request) -> Any:
        return BAD if len(request.json["messages"]) == 1 else GOOD

    def work(client: Client, ends: list[str]) -> None:
        try:
            while True:
                client.generate(TASK)
        except ClientClosedError as error:
            ends.append(str(error))

    for turn in range(10):
        server.reset()
        server.script([model] * 10_000)
        ends: list[str] = []
        client = client_of(server)
        threads = [threading.Thread(target=work, args=(client, ends)) for _ in range(6)]
        for thread in threads:
            thread.start()
        wait_for(server, 20 + turn)
        client.close()
        for thread in threads:
            thread.join(WAIT)
        assert len(ends) == 6
        assert len(server.requests) < 10_000 and server.errors == []


def test_cancel_in_the_second_request(server: Server) -> None:
    """Its connection is freed at once, and the client goes on."""
    release = threading.Event()
    server.script([*held(release), GOOD])

    async def main() -> Any:
        async with AsyncClient(base_url=server.url, model=MODEL) as client:
            call = asyncio.create_task(client.generate(TASK))
            await asyncio.to_thread(wait_for, server, 2)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(server.requests[1].disconnected.wait, WAIT)
            return await client.generate(TASK)

    try:
        assert asyncio.run(main())["usage"] == USAGE
    finally:
        release.set()


def test_leaving_a_map_in_a_second_request(server: Server) -> None:
    release = threading.Event()
    server.script([GOOD, *held(release)])
    with client_of(server) as client:
        requests = [{"verb": "generate", "task": TASK}] * 2
        with client.map(requests, concurrency=1) as results:
            next(results)
            waiting = threading.Thread(target=lambda: next(results, None))
            waiting.start()
            wait_for(server, 3)
    waiting.join()
    release.set()


def test_a_client_that_is_forgotten_in_the_second_request(server: Server) -> None:
    """An event loop that ends with a call under way leaves nothing behind."""
    release = threading.Event()
    server.script(held(release))
    kept: list[Any] = []

    async def main() -> None:
        client = AsyncClient(base_url=server.url, model=MODEL)
        kept.append(asyncio.create_task(client.generate(TASK)))
        await asyncio.to_thread(wait_for, server, 2)

    asyncio.run(main())
    release.set()
    gc.collect()
    assert kept[0].cancelled()


def test_what_the_interpreter_prints() -> None:
    out = io.StringIO()
    traceback.print_exception(unusable(), file=out)
    assert "ModelAnswerError: the model's answer cannot be used" in out.getvalue()
