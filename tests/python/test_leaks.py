"""Ten thousand calls, and errors of every kind, leave nothing behind.

On any Python the blocks of Python's own allocator, the bytes of the C library's, the objects of this
package's types, the descriptors and the size of the process are watched; on a debug Python the total
of all references too. What the first rounds leave for good (caches, interned strings) is there before
the counting begins.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import itertools
import os
import pickle
import sys
import sysconfig
from collections.abc import Callable, Iterator
from typing import Any

import promptlathe
import pytest
from canned import Canned
from promptlathe import Client, _core

pytestmark = pytest.mark.timing  # counts memory, which sanitizers keep back

KEY = "a-key-of-the-leak-tests"
TASK = "Translate hello to German"
CALLS = 10_000
WARM = 300

# A leak grows in every round; a table that is made larger once does not. What a round may leave is
# far below the smallest thing that could be lost in each of its turns. Without a GIL memory is given
# back a little later (what other threads may still read waits for them).
ROUNDS = 4
WITHOUT_GIL = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
LIMITS = {
    "objects": 0,
    "descriptors": 0,
    "resident": 256 << 10,
    "blocks": 64 if WITHOUT_GIL else 12,
    "malloc": 4096,
    "references": 24,
}

OUR_TYPES = tuple(
    value
    for value in vars(_core).values()
    if isinstance(value, type) and value.__module__.partition(".")[0] == "promptlathe"
)


class _Mallinfo2(ctypes.Structure):
    _fields_ = [(f"field_{n}", ctypes.c_size_t) for n in range(10)]


def _malloc_bytes() -> Callable[[], int] | None:
    """A function that tells how many bytes the C library has given out; None where it cannot."""
    with contextlib.suppress(AttributeError, OSError):
        mallinfo2 = ctypes.CDLL(None).mallinfo2
        mallinfo2.restype = _Mallinfo2

        def used() -> int:
            info = mallinfo2()
            return int(info.field_7) + int(info.field_4)  # in arenas, and mapped

        return used
    return None


MALLOC_BYTES = _malloc_bytes()


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counts() -> dict[str, int]:
    """All that is watched, after a collection."""
    gc.collect()
    found = {
        "objects": sum(isinstance(thing, OUR_TYPES) for thing in gc.get_objects()),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": resident(),
        "blocks": sys.getallocatedblocks(),
    }
    if MALLOC_BYTES:
        found["malloc"] = MALLOC_BYTES()
    if hasattr(sys, "gettotalrefcount"):
        found["references"] = sys.gettotalrefcount()
    return found


def assert_flat(turn: Callable[[], Any], turns: int) -> None:
    """Run `turn` often; there is a round in which nothing more is in use afterwards than before."""
    for _ in range(WARM):
        turn()
    counts()
    seen = [counts()]
    for _ in range(ROUNDS):
        for _ in range(turns // ROUNDS):
            turn()
        seen.append(counts())
    grown = {
        name: [after[name] - before[name] for before, after in itertools.pairwise(seen)]
        for name in seen[0]
    }
    leaking = {name: rounds for name, rounds in grown.items() if min(rounds) > LIMITS[name]}
    assert leaking == {}, f"in {ROUNDS} rounds of {turns // ROUNDS} turns: {grown}"


@pytest.fixture(scope="module")
def canned() -> Iterator[Canned]:
    with Canned() as server:
        yield server


def client_of(canned: Canned, name: str, **options: Any) -> Client:
    return Client(KEY, base_url=canned.url(name), max_retries=0, timeout=30, **options)


def failing(call: Callable[[], Any], kind: type[BaseException]) -> Callable[[], None]:
    """A turn that must fail in this way each time."""

    def turn() -> None:
        try:
            call()
        except kind:
            return
        raise AssertionError(f"no {kind.__name__}")

    return turn


# ---- Calls --------------------------------------------------------------------------------------


def test_ten_thousand_calls(canned: Canned) -> None:
    with client_of(canned, "good-2000") as client:
        calls = [
            lambda: client.generate(TASK, target_model="x"),
            lambda: client.improve([{"role": "user", "content": TASK}], feedback="shorter"),
            lambda: client.templatize(TASK, system="s", extra_headers={"x-a": "b"}, betas=["c"]),
            lambda: client.with_raw_response.generate(TASK, timeout=promptlathe.Timeout(20)),
        ]
        assert_flat(lambda: [call() for call in calls], CALLS // len(calls))


STATUSES = [204, 301, 400, 401, 403, 404, 409, 413, 422, 429, 500, 529]
KINDS = {
    **{f"status-{status}": promptlathe.APIStatusError for status in STATUSES[1:]},
    "empty": promptlathe.APIResponseValidationError,
    "html": promptlathe.APIResponseValidationError,
    "shape": promptlathe.APIResponseValidationError,
    "short": promptlathe.APIConnectionError,
    "garbage": promptlathe.APIConnectionError,
    "close": promptlathe.APIConnectionError,
    "reset": promptlathe.APIConnectionError,
}


def test_ten_thousand_errors_of_answers(canned: Canned) -> None:
    """Every class, with all that hangs on it; the connection stays or has to be made again."""
    with contextlib.ExitStack() as stack:
        turns = []
        for name, kind in KINDS.items():
            client = stack.enter_context(client_of(canned, name))
            turns.append(failing(lambda client=client: client.generate(TASK), kind))
        assert_flat(lambda: [turn() for turn in turns], CALLS // len(turns))


def test_errors_with_a_traceback_and_copies_of_them(canned: Canned) -> None:
    """Handled as programs do: kept, chained, pickled."""
    with client_of(canned, "status-400") as client:

        def turn() -> None:
            try:
                try:
                    client.generate(TASK)
                except promptlathe.BadRequestError as error:
                    kept = pickle.loads(pickle.dumps(error))
                    raise ValueError(kept) from error
            except ValueError as outer:
                assert outer.__cause__ is not None

        assert_flat(turn, 2000)


def test_retries(canned: Canned) -> None:
    """A connection that is gone at each attempt, and the pause between them."""
    with client_of(canned, "close") as client:
        several = client.with_options(max_retries=3)
        # The deadline comes within the first pause, so that the attempts of a turn cost no time.
        turn = failing(lambda: several.generate(TASK, timeout=0.2), promptlathe.APIConnectionError)
        assert_flat(turn, 500)


def test_timeouts(canned: Canned) -> None:
    """The shortest: calls whose time is over before an answer can be there."""
    with client_of(canned, "good-2000") as client:

        def turn() -> None:
            with contextlib.suppress(promptlathe.APITimeoutError):
                client.generate(TASK, timeout=1e-6)

        assert_flat(turn, 1000)


def test_maps(canned: Canned) -> None:
    """Taken to the end, left early, failed, refused, and in a cycle with what they read."""
    asked = {"verb": "generate", "task": TASK}
    wrong: Any = [asked, {"verb": "x"}, 5, {**asked, "betas": 5}, {**asked, "nonsense": 1}]
    with client_of(canned, "good-2000") as client, client_of(canned, "status-400") as refused:

        def cycle() -> Iterator[Any]:
            yield from (asked, asked)
            raise ValueError(held)

        def turn() -> None:
            assert len(list(client.map([asked] * 10, concurrency=4))) == 10
            assert len(list(client.map(wrong, return_exceptions=True))) == 5
            assert len(list(refused.map([asked] * 3, return_exceptions=True, ordered=False))) == 3
            failing(lambda: list(refused.map([asked] * 3)), promptlathe.BadRequestError)()
            failing(lambda: client.map([], concurrency=0), promptlathe.ConfigurationError)()
            next(client.map([asked] * 10))
            held["map"] = client.map(cycle())
            failing(lambda: list(held["map"]), ValueError)()
            with client.map([asked] * 10, concurrency=2) as results:
                next(results)
            held["map"] = client.map(cycle(), return_exceptions=True)
            next(held["map"])

        held: dict[str, Any] = {}
        assert_flat(turn, 400)


def test_clients(canned: Canned) -> None:
    """Made, used, copied, closed, or simply forgotten."""

    def turn() -> None:
        client = client_of(canned, "good-2000", betas=["b"], default_headers={"x-a": "b"})
        copy = client.with_options(timeout=5, default_headers={"x-c": "d"})
        copy.generate(TASK)
        assert client.rate_limits and client.base_url and repr(copy)
        client.with_raw_response.generate(TASK)
        client.close()
        failing(lambda: copy.generate(TASK), promptlathe.ClientClosedError)()
        forgotten = client_of(canned, "good-2000")
        forgotten.with_options(max_retries=1).generate(TASK)

    assert_flat(turn, 400)


def test_results_in_a_cycle(canned: Canned) -> None:
    with client_of(canned, "good-2000") as client:

        def turn() -> None:
            raw: Any = client.with_raw_response.generate(TASK)
            raw.data["self"] = raw
            raw.headers["self"] = raw

        assert_flat(turn, 1000)


# ---- With a model -------------------------------------------------------------------------------

MODEL_TURNS = {
    "generate": lambda client: client.generate(TASK, target_model="x"),
    "improve": lambda client: client.improve("Say it", feedback="shorter"),
    "thorough": lambda client: client.improve("Say it", effort="thorough"),
    "templatize": lambda client: client.templatize(TASK, system="s"),
    "raw": lambda client: pickle.dumps(client.with_raw_response.templatize(TASK)),
    "copy": lambda client: client.with_options(model="other", max_tokens=5).generate(TASK),
    "kept": lambda client: client.improve("Say {{A}}", on_variable_change="keep_original"),
    "map": lambda client: list(client.map([{"verb": "generate", "task": TASK}] * 3)),
}


@pytest.mark.parametrize("name", MODEL_TURNS)
def test_calls_with_a_model(canned: Canned, name: str) -> None:
    """The answer has every section, and JSON that names one text of the prompt and one of none."""
    with Client(base_url=canned.url("model"), model="m", timeout=30) as client:
        assert_flat(lambda: MODEL_TURNS[name](client), 1000)


def test_errors_with_a_model(canned: Canned) -> None:
    changed, wrong = promptlathe.VariablesChangedError, promptlathe.ModelAnswerError
    folder = {"instructions": "/no/such"}
    with contextlib.ExitStack() as stack:
        model, blank, shape, refusing = (
            stack.enter_context(
                Client(base_url=canned.url(name), model="m", max_retries=0, timeout=30)
            )
            for name in ("model", "blank", "shape", "status-400")
        )

        def turn() -> None:
            try:
                blank.generate(TASK)
            except wrong as error:
                kept = pickle.loads(pickle.dumps(error))
                assert kept.answer is None and error.answer == ""
            failing(lambda: model.improve("Say {{A}}"), changed)()
            failing(lambda: blank.improve("Say", effort="thorough"), wrong)()
            failing(lambda: blank.templatize("Say"), wrong)()
            failing(lambda: shape.generate(TASK), promptlathe.APIResponseValidationError)()
            failing(lambda: refusing.generate(TASK), promptlathe.BadRequestError)()
            failing(lambda: model.generate(TASK, **folder), promptlathe.ConfigurationError)()
            list(blank.map([{"verb": "generate", "task": TASK}] * 3, return_exceptions=True))

        assert_flat(turn, 400)


# ---- Input that is refused, and the rules -------------------------------------------------------

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "{{A}} and b"}]}]
BAD_MESSAGES: Any = [
    {"role": "system", "content": []},
    {"role": "assistant", "content": [{"type": "image"}, {"type": "text", "text": 5}], "extra": 1},
    {"content": "\ud800", 7: 8},
    None,
]
PROMPT = "\n\nHuman: hello\n\nAssistant:"


def test_wrong_input_to_calls(canned: Canned) -> None:
    with client_of(canned, "good-2000") as client:
        anything: Any = client
        wrong = [
            failing(lambda: anything.improve(BAD_MESSAGES), promptlathe.InvalidRequestError),
            failing(lambda: anything.generate(5), promptlathe.InvalidRequestError),
            failing(lambda: anything.generate("\ud800"), promptlathe.InvalidRequestError),
            failing(lambda: anything.generate(TASK, timeout=-1), promptlathe.ConfigurationError),
            failing(lambda: anything.generate(TASK, betas=["a b"]), promptlathe.ConfigurationError),
            failing(lambda: anything.generate(TASK, betas=["a", 5]), TypeError),
            failing(
                lambda: anything.generate(TASK, extra_headers={"x-a": "1", "host": "x"}),
                promptlathe.ConfigurationError,
            ),
            failing(lambda: anything.generate(TASK, extra_headers={"a": 1}), TypeError),
            failing(lambda: anything.generate(TASK, nonsense=1), TypeError),
            failing(lambda: anything.generate(), TypeError),
            failing(lambda: anything.with_options(timeout="x"), TypeError),
            failing(lambda: pickle.dumps(client), TypeError),
        ]
        assert_flat(lambda: [turn() for turn in wrong], 1000)


def test_wrong_options_of_clients() -> None:
    anything: Any = Client
    wrong = [
        failing(lambda: anything("bad key"), promptlathe.ConfigurationError),
        failing(
            lambda: anything(KEY, base_url="http://example.com"), promptlathe.ConfigurationError
        ),
        failing(lambda: anything(KEY, base_url="https://a.b/?c"), promptlathe.ConfigurationError),
        failing(
            lambda: anything(KEY, base_url="http://127.0.0.1", default_headers={"host": "x"}),
            promptlathe.ConfigurationError,
        ),
        failing(lambda: anything(KEY, proxy="ftp://x"), promptlathe.ConfigurationError),
        failing(lambda: anything(KEY, ca_file="/no/such"), promptlathe.ConfigurationError),
        failing(lambda: anything(KEY, timeout="x"), TypeError),
        failing(lambda: anything(), promptlathe.ConfigurationError),
        failing(lambda: promptlathe.Timeout(-1), promptlathe.ConfigurationError),
        lambda: (promptlathe.Timeout(1, None), repr(promptlathe.Timeout())),
    ]
    assert_flat(lambda: [turn() for turn in wrong], 1000)


def test_the_rules() -> None:
    response = {
        "messages": MESSAGES,
        "system": "",
        "usage": {},
        "variable_values": {"A": "a"},
    }
    turns = [
        lambda: promptlathe.validate_messages(MESSAGES),
        lambda: promptlathe.validate_messages("plain"),
        failing(
            lambda: promptlathe.validate_messages(BAD_MESSAGES), promptlathe.InvalidRequestError
        ),
        lambda: promptlathe.sanitize_completion_prompt("Human: x \n"),
        lambda: promptlathe.validate_completion_prompt(PROMPT),
        lambda: promptlathe.convert_completion_prompt(PROMPT),
        failing(
            lambda: promptlathe.validate_completion_prompt("Human x"),
            promptlathe.InvalidPromptError,
        ),
        failing(
            lambda: promptlathe.validate_completion_prompt(
                PROMPT + "x" * 100_000, count_tokens=lambda text: len(text)
            ),
            promptlathe.InvalidPromptError,
        ),
        lambda: promptlathe.find_variables(MESSAGES),
        lambda: promptlathe.render(MESSAGES, {"A": "a"}),
        failing(lambda: promptlathe.render("{{B}}", {}), promptlathe.MissingVariableError),
        failing(lambda: promptlathe.render("{{B}}", {"B": 5}), TypeError),  # type: ignore[dict-item]
        lambda: promptlathe.check_round_trip("a and b", response),
        lambda: promptlathe.check_round_trip("a and c", response),
        lambda: _core.takes_prefill("claude-opus-4-5 \ud800"),
        failing(lambda: _core.takes_prefill(None), TypeError),  # type: ignore[arg-type]
        lambda: promptlathe.to_messages_request(response, model="any"),
        lambda: promptlathe.diff(response, MESSAGES),
    ]
    assert_flat(lambda: [turn() for turn in turns], 1000)


def test_the_counting_itself_sees_a_leak() -> None:
    """A list that grows by one small object at each turn is noticed."""
    kept: list[Any] = []
    with pytest.raises(AssertionError, match="turns"):
        assert_flat(lambda: kept.append([object()]), 2000)
    with pytest.raises(AssertionError, match="objects"):
        assert_flat(lambda: kept.append(promptlathe.PromptLatheError("x")), 100)
