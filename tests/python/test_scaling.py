"""No rule costs more than its input's length: eight times the input, about eight times the CPU.

The hostile inputs are those on which a careless search starts over again and again.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable
from typing import Any

import promptlathe
import pytest

pytestmark = pytest.mark.timing

Work = Callable[[], Any]
# A linear rule gives a ratio of about 8, up to 20 where the larger input no longer fits the caches;
# a quadratic one gives 64. Below TOO_SHORT no ratio is asked for: at these sizes (100,000 things or
# 4 MB) a quadratic cost is a second at the very least.
GROWTH = 8
CEILING = 30.0
TOO_SHORT = 0.3


def cpu(work: Work) -> float:
    """Seconds of CPU of the best of three runs, without the interpreter's garbage collection."""
    best = float("inf")
    gc.disable()
    try:
        for _ in range(3):
            began = time.process_time()
            work()
            best = min(best, time.process_time() - began)
    finally:
        gc.enable()
    return best


def assert_linear(make: Callable[[int], Work], size: int) -> None:
    """`make(size)` prepares the work; only the work itself is measured."""
    small, large = cpu(make(size)), cpu(make(GROWTH * size))
    assert large < max(CEILING * small, TOO_SHORT), f"{small:.4f} s, {large:.4f} s for 8 times"


def test_a_quadratic_cost_would_be_seen() -> None:
    def make(size: int) -> Work:
        return lambda: [sum(range(size)) for _ in range(size)]

    with pytest.raises(AssertionError, match="for 8 times"):
        assert_linear(make, 1200)


def quietly(question: Callable[..., Any], *args: Any, **named: Any) -> Work:
    """The question, whatever its answer: a refusal is as good as a result here."""

    def work() -> None:
        with contextlib.suppress(ValueError, KeyError):
            question(*args, **named)

    return work


def filled(piece: str, size: int) -> str:
    return piece * (size // len(piece))


HALF_MEGABYTE = 1 << 19

BRACES = [
    "{", "{{", "}}", "{{A", "{{A}", "{{ ", "{{\t", "{{{{A}}", "{{A}}", "{{_ }", "{{" + "a" * 1000,
]  # fmt: skip
NEWLINES = [
    "\n", "\n\n", "\r\n", "\n\nHuman", "\n\nHuman:", "\n\nAssistant", "\n\nAssistant:", "\nHuman:",
    "\n \n", " ", "\n\nhuman", "\n \t", "Human", "Human:", "\n\n\nHuman:\n\nAssistant:", "\v\f",
    "\n\n" + " " * 1000 + "Human:", "\n\nH", "é", "\r",
]  # fmt: skip


@pytest.mark.parametrize("piece", BRACES, ids=repr)
def test_find_variables(piece: str) -> None:
    assert_linear(
        lambda size: quietly(promptlathe.find_variables, filled(piece, size)), HALF_MEGABYTE
    )


@pytest.mark.parametrize("piece", BRACES, ids=repr)
def test_render(piece: str) -> None:
    def make(size: int) -> Work:
        return quietly(promptlathe.render, filled(piece, size), {"A": "b"}, partial=True)

    assert_linear(make, HALF_MEGABYTE)


def variables(count: int) -> str:
    return "".join(f"{{{{NAME_{number}}}}}" for number in range(count))


@pytest.mark.parametrize("has_values", [True, False])
def test_render_of_a_hundred_thousand_variables(has_values: bool) -> None:
    def make(count: int) -> Work:
        values = {f"NAME_{number}": str(number) for number in range(count)} if has_values else {}
        return quietly(promptlathe.render, variables(count), values)

    assert_linear(make, 12_500)


def test_find_a_hundred_thousand_variables() -> None:
    assert len(promptlathe.find_variables(variables(100_000))) == 100_000
    assert_linear(lambda count: quietly(promptlathe.find_variables, variables(count)), 12_500)


def test_render_with_values_that_nobody_asked_for() -> None:
    def make(count: int) -> Work:
        values = {f"N{number}": "x" for number in range(count)}
        return quietly(promptlathe.render, "{{N1}}" * count, values)

    assert_linear(make, 12_500)


def test_render_with_long_values() -> None:
    def make(size: int) -> Work:
        return quietly(promptlathe.render, "{{A}}{{B}}" * 10, {"A": "a" * size, "B": "é" * size})

    assert_linear(make, HALF_MEGABYTE // 4)


def test_round_trip_of_a_hundred_thousand_blocks() -> None:
    def make(count: int) -> Work:
        texts = [f"text {number}" for number in range(count)]
        request = [{"role": "user", "content": [{"type": "text", "text": t} for t in texts]}]
        blocks = [{"type": "text", "text": f"text {{{{N{n}}}}}"} for n in range(count)]
        response = {
            "messages": [{"role": "user", "content": blocks}], "system": "", "usage": {},
            "variable_values": {f"N{number}": "?" for number in range(count)},
        }  # fmt: skip
        return quietly(promptlathe.check_round_trip, request, response)

    assert_linear(make, 12_500)


# ---- Messages ------------------------------------------------------------------------------------


def one_long_message(size: int) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": "é" * size}]}]


def many_messages(count: int) -> Any:
    return [{"role": "user", "content": "a"} for _ in range(count)]


def many_faults(count: int) -> Any:
    return [{"role": "nobody", "content": [{"type": "text", "text": 1, "x": 2}]}] * count


def early_assistants(count: int) -> Any:
    return [{"role": "assistant", "content": "a"} for _ in range(count)]


def many_members(count: int) -> Any:
    return [{"role": "user", "content": "a", **{f"member {n}": n for n in range(count)}}]


def many_key_faults(count: int) -> Any:
    return [{"role": "user", "content": "a"} | dict.fromkeys(range(count))]


def many_empty_members(count: int) -> Any:
    return [{f"member {n}": None for n in range(count)} | {"role": "user", "content": "a"}]


def many_blocks(count: int) -> Any:
    return [{"role": "user", "content": [{"type": "text", "text": "a"} for _ in range(count)]}]


def long_keys(count: int) -> Any:
    return [{"role": "user", "content": "a", "k" * (100 * count): 1}]


@pytest.mark.parametrize(
    ("make", "size"),
    [
        (one_long_message, HALF_MEGABYTE), (many_messages, 12_500), (many_faults, 12_500),
        (early_assistants, 12_500), (many_members, 12_500), (many_key_faults, 12_500),
        (many_empty_members, 12_500), (many_blocks, 12_500), (long_keys, 12_500),
    ],
)  # fmt: skip
def test_validate_messages(make: Callable[[int], Any], size: int) -> None:
    assert_linear(lambda count: quietly(promptlathe.validate_messages, make(count)), size)


def test_a_hundred_thousand_faulty_messages_are_all_counted() -> None:
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(many_faults(100_000))
    assert caught.value.total == 300_000
    assert len(caught.value.errors) == 1000


# ---- Legacy prompts ------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", NEWLINES, ids=repr)
@pytest.mark.parametrize("name", ["sanitize", "validate", "convert"])
def test_legacy_prompt(name: str, piece: str) -> None:
    question = getattr(promptlathe, f"{name}_completion_prompt")
    named = {} if name == "sanitize" else {"count_tokens": lambda text: 1}
    assert_linear(lambda size: quietly(question, filled(piece, size), **named), HALF_MEGABYTE)


@pytest.mark.parametrize("piece", NEWLINES, ids=repr)
def test_a_valid_legacy_prompt_with_much_inside(piece: str) -> None:
    def make(size: int) -> Work:
        prompt = "\n\nHuman: a" + filled(piece, size) + "b\n\nAssistant: c"
        return quietly(promptlathe.convert_completion_prompt, prompt, count_tokens=lambda text: 1)

    assert_linear(make, HALF_MEGABYTE)


def test_the_offset_of_a_fault_far_inside() -> None:
    def make(size: int) -> Work:
        prompt = "👋é" * (size // 2) + "\n\nAssistant:\n\nHuman:"
        return quietly(promptlathe.validate_completion_prompt, prompt, count_tokens=lambda text: 1)

    assert_linear(make, HALF_MEGABYTE)


def test_a_lone_surrogate_far_inside() -> None:
    def make(size: int) -> Work:
        return quietly(promptlathe.validate_completion_prompt, "é" * size + "\ud800")

    assert_linear(make, HALF_MEGABYTE)
