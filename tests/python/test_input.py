"""Input that cannot be sent: nothing is sent, nothing crashes, the error says where.

The same bad values go through the validators and through a client whose address is a listening
socket that must see no connection.
"""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import oracle
import promptlathe
import pytest
from agreement import ask, same, told
from faults.outcome import Outcome, seen
from hostile import HostileDict, HostileInt, HostileList, HostileObject, HostileStr, HostileTuple
from promptlathe.mock import Server

KEY = "sk-not-a-real-key"
Faults = list[tuple[str, str]]


class Silent:
    """A listening socket and how many connections have reached it."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.socket.setblocking(False)
        self.url = f"http://127.0.0.1:{self.socket.getsockname()[1]}"

    def connections(self) -> int:
        # A connection made by anyone waits in the backlog: no thread is needed to see it.
        count = 0
        while True:
            try:
                self.socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1


@pytest.fixture
def silent() -> Iterator[Silent]:
    listener = Silent()
    with listener.socket:
        yield listener
        assert listener.connections() == 0, "something was sent"


@pytest.fixture
def client(silent: Silent) -> Iterator[promptlathe.Client]:
    with promptlathe.Client(KEY, base_url=silent.url, max_retries=0, timeout=10) as made:
        yield made


def test_the_listening_socket_sees_a_call_that_is_sent() -> None:
    """Without this, a silent socket would prove nothing."""
    listener = Silent()
    with (
        listener.socket,
        promptlathe.Client(KEY, base_url=listener.url, max_retries=0, timeout=0.2) as client,
        pytest.raises(promptlathe.APITimeoutError),
    ):
        client.improve("a")
    listener = Silent()
    with listener.socket:
        socket.create_connection(listener.socket.getsockname()).close()
        assert listener.connections() == 1


# ---- Messages ------------------------------------------------------------------------------------


def user(content: Any) -> list[Any]:
    return [{"role": "user", "content": content}]


def block(**more: Any) -> list[Any]:
    return user([{"type": "text", "text": "a", **more}])


def ring() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def object_ring() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["role"] = value["content"] = value
    return value


def deep(levels: int = 100_000) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = {"text": value} if level % 2 else [value]
    return value


BAD_MESSAGES: dict[str, tuple[Callable[[], Any], Faults]] = {
    "NaN": (lambda: float("nan"), [("messages", "wrong_type")]),
    "NaN as text": (
        lambda: user([{"type": "text", "text": float("nan")}]),
        [("messages.0.content.0.text", "wrong_type")],
    ),
    "infinite content": (lambda: user(float("inf")), [("messages.0.content", "wrong_type")]),
    "NaN as a key": (
        lambda: [{float("nan"): 1, "role": "user", "content": "a"}],
        [("messages.0", "wrong_type")],
    ),
    "a ring of lists": (ring, [("messages.0", "wrong_type")]),
    "a ring of objects": (
        lambda: [object_ring()],
        [("messages.0.role", "wrong_type"), ("messages.0.content", "wrong_type")],
    ),
    "a ring in content": (lambda: user(ring()), [("messages.0.content.0", "wrong_type")]),
    "depth": (deep, [("messages", "wrong_type")]),
    "depth in a refused member": (
        lambda: block(more=deep()), [("messages.0.content.0.more", "unexpected_key")],
    ),
    "depth in content": (lambda: user([[deep()]]), [("messages.0.content.0", "wrong_type")]),
    "bytes": (lambda: b"a", [("messages", "wrong_type")]),
    "bytes as text": (
        lambda: user([{"type": "text", "text": b"a"}]),
        [("messages.0.content.0.text", "wrong_type")],
    ),
    "bytearray as content": (
        lambda: user(bytearray(b"a")), [("messages.0.content", "wrong_type")],
    ),
    "a number as key": (
        lambda: [{1: "a", "role": "user", "content": "a"}], [("messages.0", "wrong_type")],
    ),
    "bytes as key": (
        lambda: user([{b"type": 1, "type": "text", "text": "a"}]),
        [("messages.0.content.0", "wrong_type")],
    ),
    "None as key": (
        lambda: [{None: None, "role": "user", "content": "a"}], [("messages.0", "wrong_type")],
    ),
    "a lone surrogate": (lambda: "a\ud800", [("messages", "not_unicode")]),
    "a lone surrogate in content": (
        lambda: user("\udfff"), [("messages.0.content", "not_unicode")],
    ),
    "a lone surrogate in a text": (
        lambda: user([{"type": "text", "text": "\ud83d\udc4b"}]),
        [("messages.0.content.0.text", "not_unicode")],
    ),
    "a lone surrogate in a key": (
        lambda: block(**{"\ud800": None}), [("messages.0.content.0", "not_unicode")],
    ),
    "a generator": (lambda: (part for part in user("a")), [("messages", "wrong_type")]),
    "a set": (lambda: {"a"}, [("messages", "wrong_type")]),
    "hostile subclasses": (
        lambda: HostileList(
            [HostileDict({HostileStr("role"): HostileStr("rôle"), "content": HostileTuple(())})]
        ),
        [("messages.0.role", "bad_role"), ("messages.0.content", "empty")],
    ),
    "hostile values": (
        lambda: [{"role": HostileInt(3), "content": HostileObject()}],
        [("messages.0.role", "wrong_type"), ("messages.0.content", "wrong_type")],
    ),
    "hostile keys": (
        lambda: [{HostileInt(3): 1, "role": "user", "content": "a"}],
        [("messages.0", "wrong_type")],
    ),
}  # fmt: skip

every_bad_message = pytest.mark.parametrize("name", BAD_MESSAGES)


def refusal(question: Callable[..., Any], *args: Any, **named: Any) -> Faults:
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        ask(question, *args, **named)
    faults = told(caught.value)
    words = "; ".join(f"{code} at {path}" for path, code in faults)
    seen.append(Outcome(f"InvalidRequestError, {words}", "", 0, 0.0))
    return faults


@every_bad_message
@pytest.mark.fault("Input", "messages: {name}")
def test_bad_messages_are_refused_by_the_validator(name: str) -> None:
    make, faults = BAD_MESSAGES[name]
    messages = make()
    assert oracle.message_faults(messages) == faults
    assert refusal(promptlathe.validate_messages, messages) == faults


@every_bad_message
@pytest.mark.fault("Input", "messages: {name}")
def test_bad_messages_are_not_sent(client: promptlathe.Client, name: str) -> None:
    make, faults = BAD_MESSAGES[name]
    messages = make()
    assert refusal(client.improve, messages) == faults
    assert refusal(client.templatize, messages, system="a") == faults
    assert refusal(client.with_raw_response.improve, messages) == faults


# ---- The other members of a body -----------------------------------------------------------------

NO_TEXT = [3, 1.5, float("nan"), True, b"a", ["a"], {"a": 1}, HostileObject(), ring(), deep(1000)]


@pytest.mark.parametrize("value", NO_TEXT, ids=lambda value: type(value).__name__)
@pytest.mark.fault("Input", "task: no string")
def test_a_member_that_is_no_string_is_not_sent(client: promptlathe.Client, value: Any) -> None:
    assert refusal(client.generate, value) == [("task", "wrong_type")]
    assert refusal(client.generate, "a", target_model=value) == [("target_model", "wrong_type")]
    for member in ("feedback", "system", "target_model"):
        assert refusal(client.improve, "a", **{member: value}) == [(member, "wrong_type")]
    assert refusal(client.templatize, "a", system=value) == [("system", "wrong_type")]


def test_a_task_that_is_none_is_not_sent(client: promptlathe.Client) -> None:
    assert refusal(client.generate, None) in ([("task", "wrong_type")], [("task", "missing")])


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", HostileStr("\ud83d\udc4b")])
@pytest.mark.fault("Input", "task: a lone surrogate")
def test_a_member_with_a_lone_surrogate_is_not_sent(client: promptlathe.Client, text: str) -> None:
    assert refusal(client.generate, text) == [("task", "not_unicode")]
    for member in ("feedback", "system"):
        assert refusal(client.improve, "a", **{member: text}) == [(member, "not_unicode")]
    assert refusal(client.templatize, "a", system=text) == [("system", "not_unicode")]
    assert refusal(client.improve, "a", target_model=text)[0] == ("target_model", "not_unicode")


@pytest.mark.parametrize("model", ["", "m" * 257, "👋" * 257, HostileStr("")])
def test_a_model_of_the_wrong_length_is_not_sent(client: promptlathe.Client, model: str) -> None:
    assert refusal(client.generate, "a", target_model=model) == [("target_model", "bad_length")]
    assert refusal(client.improve, "a", target_model=model) == [("target_model", "bad_length")]


@pytest.mark.parametrize("call", ["generate", "improve", "templatize"])
def test_arguments_that_a_verb_does_not_have_are_type_errors(
    client: promptlathe.Client, call: str
) -> None:
    for named in ({"stream": True}, {"temperature": 1}, {"\ud800": 1}):
        with pytest.raises(TypeError):
            getattr(client, call)("a", **named)
    with pytest.raises(TypeError):
        getattr(client, call)()
    with pytest.raises(TypeError):
        getattr(client, call)("a", "b")


def test_every_member_at_fault_is_told_at_once(client: promptlathe.Client) -> None:
    got = refusal(client.improve, [{}, 3], feedback=1, system="\ud800", target_model="")
    assert sorted(got) == [
        ("feedback", "wrong_type"),
        ("messages.0.content", "missing"),
        ("messages.0.role", "missing"),
        ("messages.1", "wrong_type"),
        ("system", "not_unicode"),
        ("target_model", "bad_length"),
    ]


# ---- Every fault at once -------------------------------------------------------------------------

EVERYTHING_WRONG: list[Any] = [
    {"role": "system", "content": "You are kind."},
    {"role": "assistant", "content": [], "name": "bob", 5: "five"},
    {"content": [
        "no block", {}, {"type": 1}, {"type": "image"}, {"type": "text"},
        {"type": "text", "text": 7, "cache_control": {"type": "ephemeral"}, "citations": []},
        {"type": "text", "text": "\ud800", "\udc00": None},
    ]},
    None,
    {"role": True, "content": {"type": "text"}, "cache_control": {}},
    {"role": "narrator"},
]  # fmt: skip

EVERY_FAULT = [
    ("messages.0.role", "bad_role"),
    ("messages.1.content", "empty"),
    ("messages.1.name", "unexpected_key"),
    ("messages.1", "wrong_type"),
    ("messages.1.role", "assistant_not_last"),
    ("messages.2.role", "missing"),
    ("messages.2.content.0", "wrong_type"),
    ("messages.2.content.1.type", "missing"),
    ("messages.2.content.2.type", "wrong_type"),
    ("messages.2.content.3.type", "not_text"),
    ("messages.2.content.4.text", "missing"),
    ("messages.2.content.5.text", "wrong_type"),
    ("messages.2.content.5.cache_control", "prompt_caching"),
    ("messages.2.content.5.citations", "unexpected_key"),
    ("messages.2.content.6.text", "not_unicode"),
    ("messages.2.content.6", "not_unicode"),
    ("messages.3", "wrong_type"),
    ("messages.4.role", "wrong_type"),
    ("messages.4.content", "wrong_type"),
    ("messages.4.cache_control", "unexpected_key"),
    ("messages.5.role", "bad_role"),
    ("messages.5.content", "missing"),
]

# `no_user_message` supposes that every role is valid, so it cannot stand beside `bad_role`.
EVERY_CODE = {
    "wrong_type", "missing", "empty", "bad_role", "not_text", "prompt_caching", "unexpected_key",
    "assistant_not_last", "no_user_message", "bad_length", "not_unicode",
}  # fmt: skip


def sentences(error: promptlathe.InvalidRequestError) -> dict[tuple[str, str], str]:
    return {(fault["path"], fault["code"]): fault["message"] for fault in error.errors}


@pytest.mark.fault(
    "Input", "messages: every fault at once", ends="InvalidRequestError that names all of them"
)
def test_a_prompt_with_every_fault_gets_all_of_them_in_one_error(
    client: promptlathe.Client,
) -> None:
    for question in (promptlathe.validate_messages, client.improve, client.templatize):
        assert refusal(question, EVERYTHING_WRONG) == EVERY_FAULT
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        client.improve(EVERYTHING_WRONG, target_model="")
    assert sorted(told(caught.value)) == sorted([*EVERY_FAULT, ("target_model", "bad_length")])
    codes = {code for _, code in told(caught.value)}
    with pytest.raises(promptlathe.InvalidRequestError) as lonely:
        client.improve([{"role": "assistant", "content": "a"}])
    codes |= {code for _, code in told(lonely.value)}
    assert codes == EVERY_CODE


def test_each_sentence_says_what_would_be_right() -> None:
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(EVERYTHING_WRONG)
    said = sentences(caught.value)
    for place, words in {
        ("messages.0.role", "bad_role"): ["system="],
        ("messages.1.content", "empty"): ["text"],
        ("messages.1", "wrong_type"): ["string"],
        ("messages.1.role", "assistant_not_last"): ["last"],
        ("messages.2.role", "missing"): ["user"],
        ("messages.2.content.0", "wrong_type"): ["object"],
        ("messages.2.content.3.type", "not_text"): ["text"],
        ("messages.2.content.5.text", "wrong_type"): ["string"],
        ("messages.2.content.5.cache_control", "prompt_caching"): ["cache"],
        ("messages.2.content.6.text", "not_unicode"): ["surrogate"],
        ("messages.4.content", "wrong_type"): ["string", "list"],
        ("messages.5.role", "bad_role"): ["user", "assistant"],
    }.items():
        for word in words:
            assert word in said[place], (place, said[place])
    # A sentence may tell the place but is no use if it is the same for different faults.
    assert len({said[place] for place in said}) >= len({code for _, code in said})


def test_the_error_survives_pickling_and_copying_and_does_not_quote_the_prompt() -> None:
    messages = [*EVERYTHING_WRONG, {"role": "user", "content": "The word is xyzzy.", "x": "xyzzy"}]
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(messages)
    error = caught.value
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(again) is type(error) and str(again) == str(error)
        assert again.errors == error.errors and again.total == error.total
    for shown in (str(error), repr(error), repr(error.errors), pickle.dumps(error).decode("latin")):
        assert "xyzzy" not in shown and "You are kind" not in shown
    assert isinstance(error, ValueError) and isinstance(error, promptlathe.PromptLatheError)


# ---- What passes ---------------------------------------------------------------------------------


ANSWER = json.dumps(
    {"messages": [{"role": "user", "content": "a"}], "system": "", "usage": {},
     "variable_values": {}}
).encode()  # fmt: skip


class OneAnswer(threading.Thread):
    """Takes one request on a loopback socket, keeps its body, and answers it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(20)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.head = self.body = b""

    def run(self) -> None:
        with self.listener, self.listener.accept()[0] as connection:
            connection.settimeout(20)
            received = b""
            while b"\r\n\r\n" not in received:
                received += connection.recv(65536)
            self.head, _, self.body = received.partition(b"\r\n\r\n")
            lines = self.head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            while len(self.body) < length:
                self.body += connection.recv(65536)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + ANSWER)


def sent_body(call: Callable[[promptlathe.Client], Any]) -> Any:
    """The JSON body of what one call sends."""
    server = OneAnswer()
    server.start()
    with promptlathe.Client(KEY, base_url=server.url, max_retries=0, timeout=20) as client:
        call(client)
    server.join(20)
    assert not server.is_alive()
    return json.loads(server.body.decode("utf-8"))


TEXTS = [
    "",
    "\0",
    "a\0b\0",
    "\x01\x1f\x7f\x80",
    '"\\/',
    "\u2028\u2029",
    "\ufeff",
    "\uffff",
    "👋é你",
]


@pytest.mark.fault("Input", "NUL in a text", ends="sent as it is given")
def test_nul_and_any_other_text_is_sent_exactly_as_given() -> None:
    messages = user([{"type": "text", "text": text} for text in TEXTS])
    body = sent_body(lambda client: client.improve(messages, system="\0", feedback="a\0b"))
    assert body == {"messages": messages, "system": "\0", "feedback": "a\0b"}
    body = sent_body(lambda client: client.generate("a\0b", target_model="👋" * 256))
    assert body == {"task": "a\0b", "target_model": "👋" * 256}


@pytest.mark.fault(
    "Input",
    "subclasses of str, dict and list with hostile methods",
    ends="sent by their content; none of the methods runs",
)
def test_subclasses_are_sent_by_their_content_and_none_of_their_methods_runs() -> None:
    messages = HostileTuple(
        [
            HostileDict({HostileStr("role"): HostileStr("user"), "content": HostileStr("a\0")}),
            HostileDict({"role": "assistant", HostileStr("content"): HostileList([
                HostileDict({"type": HostileStr("text"), "text": HostileStr("é")})
            ])}),
        ]
    )  # fmt: skip
    body = sent_body(lambda client: ask(client.templatize, messages, system=HostileStr("be kind")))
    assert body == {"messages": oracle.normal_form(messages), "system": "be kind"}


# ---- Input that another thread changes -----------------------------------------------------------


def changing_messages() -> tuple[list[Any], Callable[[int], None]]:
    """Messages, and one step of changing them; every step leaves them another way."""
    content: list[Any] = [{"type": "text", "text": "a"}]
    message: dict[str, Any] = {"role": "user", "content": content}
    messages: list[Any] = [message]

    def step(number: int) -> None:
        ways: list[Callable[[], Any]] = [
            lambda: message.update({f"key {number}": number}),
            message.clear,
            lambda: message.update(role="user", content=content),
            content.clear,
            lambda: content.extend({"type": "text", "text": str(n)} for n in range(50)),
            lambda: content[-1].update(text="b" * 1000) if content else None,
            messages.clear,
            lambda: messages.extend([message] * 20),
            lambda: message.update(content="c" * number),
            lambda: message.pop("content", None),
            lambda: messages.__setitem__(slice(1, None), []),
            lambda: content.__setitem__(slice(1, None), [{}]),
        ]
        ways[number % len(ways)]()

    return messages, step


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def while_changing(
    messages_step: Callable[[int], None], steps: int, work: Callable[[], Any]
) -> None:
    """Run `work` again and again, twice at the least, while the other thread makes its steps."""
    broken: list[BaseException] = []
    enough = threading.Event()

    def change() -> None:
        try:
            for number in itertools.count():
                if number >= steps and enough.is_set():
                    return
                messages_step(number)
        except BaseException as error:
            broken.append(error)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        work()
        while thread.is_alive():
            work()
            enough.set()
    finally:
        enough.set()
        thread.join()
    assert not broken, traceback.format_exception(broken[0])


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.fault(
    "Input",
    "messages that another thread changes meanwhile, as validate_messages sees them",
    ends="valid as a whole, or InvalidRequestError",
)
def test_messages_that_another_thread_changes_are_in_or_out_but_never_a_crash() -> None:
    messages, step = changing_messages()
    outcomes = set()

    def work() -> None:
        try:
            normal = promptlathe.validate_messages(messages)
        except promptlathe.InvalidRequestError as error:
            assert told(error)
            outcomes.add("refused")
        else:
            # Whatever was seen is a whole, valid prompt.
            assert oracle.normal_form(normal) == normal
            outcomes.add("accepted")

    while_changing(step, 20_000, work)
    assert outcomes <= {"accepted", "refused"}


@pytest.mark.usefixtures("quick_switches")
def test_a_template_that_another_thread_changes_never_crashes() -> None:
    messages, step = changing_messages()
    values = {"A": "a"}

    def change(number: int) -> None:
        step(number)
        values[f"N{number % 50}"] = "x"
        if number % 7 == 0:
            values.clear()

    def work() -> None:
        for question, *args in (
            (promptlathe.find_variables, messages),
            (promptlathe.render, messages, values),
            (promptlathe.render, "{{A}} {{N1}} {{N2}}", values),
            (promptlathe.check_round_trip, messages, {"messages": messages, "system": "",
                                                      "usage": {}, "variable_values": values}),
        ):  # fmt: skip
            try:
                question(*args)
            except (promptlathe.InvalidRequestError, promptlathe.MissingVariableError):
                continue

    while_changing(change, 10_000, work)


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.fault(
    "Input", "bad messages that another thread changes meanwhile", ends="InvalidRequestError"
)
def test_a_bad_prompt_that_another_thread_changes_is_not_sent(client: promptlathe.Client) -> None:
    messages, step = changing_messages()
    # The last message is at fault whatever the others are.
    bad = [*messages, None]

    def change(number: int) -> None:
        step(number)
        bad[:-1] = messages

    def work() -> None:
        with pytest.raises(promptlathe.InvalidRequestError):
            client.improve(bad)

    while_changing(change, 5_000, work)


def always_valid_messages() -> tuple[list[Any], Callable[[int], None]]:
    """Messages that stay valid, however much each step changes them."""
    content: list[Any] = [{"type": "text", "text": "a"}]
    message: dict[str, Any] = {"role": "user", "content": content}
    messages: list[Any] = [message]

    def step(number: int) -> None:
        ways: list[Callable[[], Any]] = [
            lambda: content.extend({"type": "text", "text": str(n)} for n in range(number % 50)),
            lambda: content[0].update(text="é" * (number % 5000)),
            lambda: messages.extend([message] * 9),
            lambda: message.update({f"key {number % 99}": None}),
            lambda: content.__delitem__(slice(1, None)),
            lambda: message.update(content=f"text {number}"),
            lambda: messages.__delitem__(slice(1, None)),
            lambda: message.update(content=content),
        ]
        ways[number % len(ways)]()

    return messages, step


@pytest.mark.usefixtures("quick_switches")
@pytest.mark.fault(
    "Input", "valid messages that another thread changes meanwhile", ends="sent whole and valid"
)
def test_what_is_sent_while_another_thread_changes_it_is_a_whole_prompt() -> None:
    messages, step = always_valid_messages()
    enough = threading.Event()

    def change() -> None:
        number = 0
        while not enough.is_set():
            step(number)
            number += 1

    changer = threading.Thread(target=change)
    with Server() as server, promptlathe.Client(KEY, base_url=server.url, timeout=60) as client:
        changer.start()
        try:
            for _ in range(50):
                client.templatize(messages)
        finally:
            enough.set()
            changer.join()
        sent = [request.json["messages"] for request in server.requests]
    assert len(sent) == 50
    for prompt in sent:
        assert same(oracle.normal_form(prompt), prompt)


# ---- Line ends and NUL where a header could be smuggled in ---------------------------------------

SMUGGLED = ["\r", "\n", "\r\n", "\0", "\r\nx-evil: 1"]
PLACES = [("{0}{1}", "before"), ("{1}{0}", "after"), ("{1}{0}{1}", "inside")]
smuggling = [
    pytest.param(shape.format(bad, "secret"), id=f"{bad!r} {where}")
    for bad in SMUGGLED
    for shape, where in PLACES
]


def assert_refused(make: Callable[[], Any], hidden: str | None = None) -> None:
    with pytest.raises(promptlathe.ConfigurationError) as caught:
        make()
    assert isinstance(caught.value, ValueError)
    seen.append(Outcome("ConfigurationError", "", 0, 0.0))
    shown = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.__dict__)
    assert str(caught.value).strip()
    if hidden is not None:
        assert hidden not in shown


@pytest.mark.parametrize("text", smuggling)
@pytest.mark.fault("Input", "CR, LF or NUL in a key")
def test_a_key_with_a_line_end_or_nul_is_refused_unseen(silent: Silent, text: str) -> None:
    assert_refused(lambda: promptlathe.Client(text, base_url=silent.url), "secret")
    assert_refused(lambda: promptlathe.Client(auth_token=text, base_url=silent.url), "secret")


@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"])
@pytest.mark.parametrize("bad", ["\r", "\n", "\r\n"])
@pytest.mark.fault("Input", "CR or LF in a key of the environment")
def test_a_key_of_the_environment_is_refused_unseen(
    silent: Silent, monkeypatch: pytest.MonkeyPatch, name: str, bad: str
) -> None:
    for variable in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv(name, f"secret{bad}")
    assert_refused(lambda: promptlathe.Client(base_url=silent.url), "secret")


@pytest.mark.parametrize("text", smuggling)
@pytest.mark.fault("Input", "CR, LF or NUL in a header")
def test_a_header_with_a_line_end_or_nul_is_refused(
    silent: Silent, client: promptlathe.Client, text: str
) -> None:
    for headers in ({"x-mine": text}, {text: "value"}):
        assert_refused(
            lambda headers=headers: promptlathe.Client(
                KEY, base_url=silent.url, default_headers=headers
            )
        )
        assert_refused(lambda headers=headers: client.with_options(default_headers=headers))
        for call in (client.generate, client.improve, client.templatize):
            assert_refused(lambda call=call, headers=headers: call("a", extra_headers=headers))


@pytest.mark.parametrize("text", smuggling)
@pytest.mark.fault("Input", "CR, LF or NUL in a beta")
def test_a_beta_with_a_line_end_or_nul_is_refused(
    silent: Silent, client: promptlathe.Client, text: str
) -> None:
    assert_refused(lambda: promptlathe.Client(KEY, base_url=silent.url, betas=[text]))
    assert_refused(lambda: client.with_options(betas=["good", text]))
    for call in (client.generate, client.improve, client.templatize):
        assert_refused(lambda call=call: call("a", betas=[text]))


@pytest.mark.parametrize("bad", SMUGGLED)
@pytest.mark.fault("Input", "CR, LF or NUL in a URL")
def test_an_address_with_a_line_end_or_nul_is_refused(silent: Silent, bad: str) -> None:
    for url in (f"{silent.url}{bad}", f"{silent.url}/a{bad}/b", f"{bad}{silent.url}",
                silent.url.replace("127", f"127{bad}"), f"ht{bad}tp://127.0.0.1"):  # fmt: skip
        assert_refused(lambda url=url: promptlathe.Client(KEY, base_url=url))
    assert_refused(
        lambda: promptlathe.Client(KEY, base_url=silent.url, proxy=f"http://127.0.0.1:9{bad}")
    )


@pytest.mark.fault("Input", "NUL in the name of a CA file")
def test_a_ca_file_with_nul_is_refused(silent: Silent) -> None:
    assert_refused(lambda: promptlathe.Client(KEY, base_url=silent.url, ca_file="a\0b"))


@pytest.mark.parametrize("value", [3, b"key", ["key"], 1.5, HostileObject()])
@pytest.mark.fault("Input", "options of the wrong type", ends="TypeError")
def test_options_of_the_wrong_type_are_type_errors(
    silent: Silent, client: promptlathe.Client, value: Any
) -> None:
    for named in (
        {"api_key": value}, {"auth_token": value}, {"base_url": value},
        {"api_key": KEY, "default_headers": {"x-mine": value}},
        {"api_key": KEY, "default_headers": {value: "x"} if type(value) is not list else value},
        {"api_key": KEY, "betas": [value]}, {"api_key": KEY, "proxy": value},
    ):  # fmt: skip
        with pytest.raises(TypeError):
            ask(promptlathe.Client, **{"base_url": silent.url, **named})
    for named in ({"extra_headers": {"x-mine": value}}, {"betas": [value]}):
        with pytest.raises(TypeError):
            ask(client.improve, "a", **named)


def test_hostile_strings_as_options_are_read_by_their_content(silent: Silent) -> None:
    client = ask(promptlathe.Client, HostileStr(KEY), base_url=HostileStr(silent.url))
    with client, pytest.raises(promptlathe.InvalidRequestError):
        client.improve([])
    assert_refused(
        lambda: ask(promptlathe.Client, HostileStr("secret\n"), base_url=silent.url), "secret"
    )


def test_a_lone_surrogate_in_an_option_is_refused(silent: Silent) -> None:
    for named in (
        {"api_key": "secret\ud800"}, {"base_url": silent.url + "/\ud800"},
        {"default_headers": {"x-mine": "\ud800"}}, {"betas": ["\ud800"]},
    ):  # fmt: skip
        options = {"api_key": KEY, "base_url": silent.url, **named}
        assert_refused(lambda options=options: promptlathe.Client(**options), "secret")
