"""Asks the library and the oracle the same question, and fails where the answers differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import oracle
import promptlathe
from hostile import armed


def told(error: promptlathe.InvalidRequestError) -> list[tuple[str, str]]:
    """The (path, code) of each fault, after a look at the shape of the error itself."""
    assert type(error.errors) is list and type(error.total) is int
    assert len(error.errors) == min(error.total, oracle.KEPT)
    for fault in error.errors:
        assert type(fault) is dict and list(fault) == ["path", "code", "message"], fault
        assert all(type(value) is str for value in fault.values()), fault
        _assert_sentence(fault["message"])
    return [(fault["path"], fault["code"]) for fault in error.errors]


def told_of_prompt(error: promptlathe.InvalidPromptError) -> list[tuple[str, int | None]]:
    """The (code, offset) of each fault of a legacy prompt."""
    assert type(error.errors) is list and error.total == len(error.errors)
    for fault in error.errors:
        assert type(fault) is dict and list(fault) == ["code", "message", "offset"], fault
        assert type(fault["code"]) is str and type(fault["offset"]) in (int, type(None)), fault
        _assert_sentence(fault["message"])
    return [(fault["code"], fault["offset"]) for fault in error.errors]


def _assert_sentence(message: str) -> None:
    assert len(message.split()) >= 3, message
    message.encode("utf-8")


def same(left: Any, right: Any) -> bool:
    """Equal, and of exactly the same types throughout; what was handed on may be one object."""
    if left is right:
        return True
    if type(left) is not type(right):
        return False
    if type(left) is dict:
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if type(left) in (list, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def snapshot(value: Any) -> list[Any]:
    """Every container reachable from `value` with the objects in it, cycles included."""
    seen: dict[int, tuple[Any, list[Any]]] = {}
    waiting = [value]
    while waiting:
        held = waiting.pop()
        if id(held) in seen:
            continue
        if oracle.is_object(held):
            inside = [part for pair in oracle.members(held) for part in pair]
        elif oracle.is_list(held):
            inside = oracle.items(held)
        else:
            continue
        seen[id(held)] = (held, inside)
        waiting += inside
    return list(seen.values())


def unchanged(before: list[Any]) -> bool:
    """Whether every container of a snapshot still holds the same objects in the same order."""
    return all(
        list(map(id, inside)) == [id(part) for part in _inside(held)] for held, inside in before
    )


def _inside(held: Any) -> list[Any]:
    if oracle.is_object(held):
        return [part for pair in oracle.members(held) for part in pair]
    return oracle.items(held)


def ask(question: Callable[..., Any], *args: Any, **named: Any) -> Any:
    """Calls the library with every hostile object armed; the arguments must stay as they are."""
    before = snapshot([args, named])
    try:
        with armed():
            return question(*args, **named)
    finally:
        assert unchanged(before), "the input was changed"


def messages_agree(messages: Any) -> str:
    """validate_messages against the oracle. Returns the kind of outcome."""
    faults = oracle.message_faults(messages)
    try:
        got = ask(promptlathe.validate_messages, messages)
    except promptlathe.InvalidRequestError as error:
        assert told(error) == faults[: oracle.KEPT]
        assert error.total == len(faults)
        return "refused"
    assert faults == []
    assert same(got, oracle.normal_form(messages))
    return "accepted"


def prompt_agrees(prompt: str, tokens: int | None = None) -> str:
    """The three functions for legacy prompts against the oracle. Returns the kind of outcome."""
    cleaned = ask(promptlathe.sanitize_completion_prompt, prompt)
    assert same(cleaned, oracle.sanitize(prompt))
    if type(prompt) is str and not cleaned[1]:
        assert cleaned[0] is prompt, "a clean prompt is handed back as it is"
    asked: list[str] = []

    def count_tokens(text: str) -> int:
        asked.append(text)
        assert tokens is not None
        return tokens

    counter = None if tokens is None else count_tokens
    faults = oracle.prompt_faults(prompt, counter)
    expected_questions, asked[:] = list(asked), []
    for question, mine in (
        (promptlathe.validate_completion_prompt, oracle.validate_prompt),
        (promptlathe.convert_completion_prompt, oracle.convert_prompt),
    ):
        try:
            got = ask(question, prompt, count_tokens=counter)
        except promptlathe.InvalidPromptError as error:
            _same_prompt_faults(told_of_prompt(error), faults)
        else:
            assert faults == []
            assert same(got, mine(prompt, lambda text: 0))
        assert same(asked, expected_questions), "count_tokens was not asked once"
        asked.clear()
    return "refused" if faults else "accepted"


def _same_prompt_faults(
    got: list[tuple[str, int | None]], expected: list[oracle.PromptFault]
) -> None:
    assert [code for code, _ in got] == [fault.code for fault in expected]
    for (code, offset), fault in zip(got, expected, strict=True):
        assert offset in fault.offsets, (code, offset, fault.offsets)


def template_agrees(prompt: Any, values: Any, *, partial: bool) -> str:
    """find_variables and render against the oracle, for well-formed arguments."""
    assert same(ask(promptlathe.find_variables, prompt), oracle.find_variables(prompt))
    try:
        expected = oracle.render(prompt, values, partial=partial)
    except oracle.Missing as missing:
        return _is_missing(prompt, values, missing.names)
    except TypeError:
        return _is_type_error(prompt, values, partial)
    assert same(ask(promptlathe.render, prompt, values, partial=partial), expected)
    return "rendered"


def _is_missing(prompt: Any, values: Any, names: list[str]) -> str:
    try:
        ask(promptlathe.render, prompt, values)
    except promptlathe.MissingVariableError as error:
        assert same(list(error.names), names)
        return "missing"
    raise AssertionError(f"nothing was said of {names}")


def _is_type_error(prompt: Any, values: Any, partial: bool) -> str:
    try:
        ask(promptlathe.render, prompt, values, partial=partial)
    except TypeError:
        return "wrong type"
    except promptlathe.MissingVariableError:
        # The contract does not say which comes first when a variable has no value besides.
        assert not partial and any(name not in values for name in oracle.find_variables(prompt))
        return "missing"
    raise AssertionError("a value that is no str was taken")


def round_trip_agrees(messages: Any, response: Any, system: str | None) -> str:
    """check_round_trip against the oracle, for a well-formed response."""
    try:
        expected = oracle.round_trip(messages, response, system)
    except oracle.Refused as refused:
        return _is_refused(messages, response, system, refused.faults)
    except TypeError:
        return _is_no_request(messages, response, system)
    got = ask(promptlathe.check_round_trip, messages, response, system=system)
    assert same(_by_path(got), _by_path(expected))
    return "differs" if expected else "exact"


def _is_refused(messages: Any, response: Any, system: str | None, faults: list[Any]) -> str:
    try:
        ask(promptlathe.check_round_trip, messages, response, system=system)
    except promptlathe.InvalidRequestError as error:
        assert told(error) == faults[: oracle.KEPT]
        return "refused"
    raise AssertionError(f"nothing was said of {faults[:5]}")


def _is_no_request(messages: Any, response: Any, system: str | None) -> str:
    try:
        ask(promptlathe.check_round_trip, messages, response, system=system)
    except TypeError:
        return "wrong type"
    raise AssertionError("what is no prompt was taken for a request")


def _by_path(differences: list[dict[str, Any]]) -> list[dict[str, Any]]:
    # The contract gives the places no order.
    return sorted(differences, key=lambda difference: (difference["path"], difference["code"]))
