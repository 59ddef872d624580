"""The published cases, and others written in the same form, through the public names.

A file of tests/cases is read by the beginning of its name: messages, completion_prompts, templates
as published; faults_messages and faults_completion with their faults in order; renders and
round_trips. The oracle is held against the same cases, so that it is no less trustworthy than they.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import oracle
import promptlathe
import pytest
from agreement import same, told, told_of_prompt

CASES = Path(__file__).resolve().parent.parent / "cases"
PUBLISHED = {"messages.json": 37, "completion_prompts.json": 30, "templates.json": 14}

Case = dict[str, Any]


def cases(prefix: str) -> list[Any]:
    found = []
    for path in sorted(CASES.glob(f"{prefix}*.json")):
        for case in json.loads(path.read_text(encoding="utf-8")):
            found.append(pytest.param(case, id=f"{path.stem}: {case['name']}"))
    return found


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_no_published_case_got_lost(name: str, count: int) -> None:
    assert len(json.loads((CASES / name).read_text(encoding="utf-8"))) == count


# ---- Messages ------------------------------------------------------------------------------------


def expected_faults(case: Case) -> list[tuple[str, str]]:
    return [(fault["path"], fault["code"]) for fault in case["errors"]]


@pytest.mark.parametrize("case", cases("messages"))
def test_messages(case: Case) -> None:
    if not case["errors"]:
        assert same(promptlathe.validate_messages(case["messages"]), case["normalized"])
        return
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(case["messages"])
    assert sorted(told(caught.value)) == expected_faults(case)


@pytest.mark.parametrize("case", cases("messages"))
def test_messages_by_the_oracle(case: Case) -> None:
    assert sorted(oracle.message_faults(case["messages"])) == expected_faults(case)
    if not case["errors"]:
        assert same(oracle.normal_form(case["messages"]), case["normalized"])


# ---- Legacy prompts ------------------------------------------------------------------------------


@pytest.mark.parametrize("case", cases("completion_prompts"))
def test_completion_prompt(case: Case) -> None:
    prompt = case["prompt"]
    if case["errors"]:
        for function in (
            promptlathe.validate_completion_prompt,
            promptlathe.convert_completion_prompt,
        ):
            with pytest.raises(promptlathe.InvalidPromptError) as caught:
                function(prompt)
            assert [code for code, _ in told_of_prompt(caught.value)] == case["errors"]
        return
    cleaned = (case["sanitized"], case["changes"])
    converted = {"system": case["system"], "messages": case["messages"]}
    assert same(promptlathe.sanitize_completion_prompt(prompt), cleaned)
    assert same(promptlathe.validate_completion_prompt(prompt), case["sanitized"])
    assert same(promptlathe.convert_completion_prompt(prompt), converted)


@pytest.mark.parametrize("case", cases("completion_prompts"))
def test_completion_prompt_by_the_oracle(case: Case) -> None:
    prompt = case["prompt"]
    assert [fault.code for fault in oracle.prompt_faults(prompt)] == case["errors"]
    if not case["errors"]:
        converted = {"system": case["system"], "messages": case["messages"]}
        assert oracle.sanitize(prompt) == (case["sanitized"], case["changes"])
        assert oracle.convert_prompt(prompt) == converted


# Where the fault of each prompt is, counted by hand: the first newline of the offending marker or
# of the near miss.
OFFSETS = [
    ("Bonjour, monde", [None, None]),
    ("\n\nHuman: Bonjour, Claude \nAssistant:", [25]),
    ("\n\nAssistant: a\n\nHuman: b\n\nAssistant:", [0]),
    ("é👋\n\nAssistant: a\n\nHuman: b", [2, 16]),
    ("\n\nHuman: a\n\nAssistant: b\n\nHuman: c", [24]),
    ("   Human: a\n\nAssistant: b\n\nHuman: 👋", [25]),
    ("Human: a\n\nAssistant: b\n\nHuman: 👋", [22]),
    ("\n\nhuman: hi\n\nassistant:", [0, 11]),
    ("\n\nHuman: hi\r\n\r\nAssistant:", [11]),
    ("\n\nHuman hi\n\nAssistant", [0, 10]),
    ("\n\nHuman : hi\n\nAssistant :", [0, 12]),
    ("\n\nHuman: hi\n\n Assistant:", [11]),
    ("   \nHuman: 👋👋\nAssistant: x", [13]),
]


@pytest.mark.parametrize(("prompt", "offsets"), OFFSETS)
def test_offset_of_each_fault(prompt: str, offsets: list[int | None]) -> None:
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(prompt)
    assert [offset for _, offset in told_of_prompt(caught.value)] == offsets
    for fault, offset in zip(oracle.prompt_faults(prompt), offsets, strict=True):
        assert offset in fault.offsets


@pytest.mark.parametrize("case", cases("faults_messages"))
def test_order_of_message_faults(case: Case) -> None:
    assert oracle.message_faults(case["messages"]) == expected_faults(case)
    if not case["errors"]:
        assert same(promptlathe.validate_messages(case["messages"]), case["normalized"])
        return
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(case["messages"])
    assert told(caught.value) == expected_faults(case)


@pytest.mark.parametrize("case", cases("faults_completion"))
def test_place_and_words_of_prompt_faults(case: Case) -> None:
    if not case["faults"]:
        promptlathe.validate_completion_prompt(case["prompt"])
        return
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(case["prompt"])
    expected = [(fault["code"], fault["offset"]) for fault in case["faults"]]
    assert told_of_prompt(caught.value) == expected
    for error, fault in zip(caught.value.errors, case["faults"], strict=True):
        assert all(words in error["message"] for words in fault["says"]), error["message"]


# ---- Templates -----------------------------------------------------------------------------------


def shapes(text: str) -> list[Any]:
    """One text as a str, as messages of both kinds, and as a response."""
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]}]
    return [
        text,
        [{"role": "user", "content": text}],
        messages,
        {"messages": messages, "system": text, "usage": {"n": 1}, "variable_values": {"Q": text}},
    ]


def rendered_shapes(template: str, rendered: str) -> list[Any]:
    """The same shapes after rendering: `variable_values` stays as it was."""
    done = shapes(rendered)
    done[-1]["variable_values"]["Q"] = template
    return done


@pytest.mark.parametrize("case", cases("templates"))
def test_template(case: Case) -> None:
    for prompt in shapes(case["template"]):
        assert promptlathe.find_variables(prompt) == case["variables"]
        if "missing" in case:
            with pytest.raises(promptlathe.MissingVariableError) as caught:
                promptlathe.render(prompt, case["values"])
            assert list(caught.value.names) == case["missing"]
    if "rendered" in case:
        for partial in (False, True):
            for prompt, expected in zip(
                shapes(case["template"]),
                rendered_shapes(case["template"], case["rendered"]),
                strict=True,
            ):
                assert same(promptlathe.render(prompt, case["values"], partial=partial), expected)


@pytest.mark.parametrize("case", cases("templates"))
def test_template_by_the_oracle(case: Case) -> None:
    for prompt in shapes(case["template"]):
        assert oracle.find_variables(prompt) == case["variables"]
    if "rendered" in case:
        assert oracle.render(case["template"], case["values"]) == case["rendered"]
    else:
        with pytest.raises(oracle.Missing) as caught:
            oracle.render(case["template"], case["values"])
        assert caught.value.names == case["missing"]


@pytest.mark.parametrize("case", cases("renders"))
def test_render(case: Case) -> None:
    def rendered() -> Any:
        return promptlathe.render(case["prompt"], case["values"], partial=case["partial"])

    if case["variables"] is not None:
        assert promptlathe.find_variables(case["prompt"]) == case["variables"]
    if "rendered" in case:
        assert same(rendered(), case["rendered"])
    elif "missing" in case:
        with pytest.raises(promptlathe.MissingVariableError) as missing:
            rendered()
        assert list(missing.value.names) == case["missing"]
    elif any(fault["path"].startswith(("prompt", "values")) for fault in case["errors"]):
        # In Python an argument, or a value, of the wrong type is a TypeError.
        with pytest.raises(TypeError):
            rendered()
    else:
        with pytest.raises(promptlathe.InvalidRequestError) as refused:
            rendered()
        assert told(refused.value) == expected_faults(case)


WRONG_ARGUMENT = {(name, "wrong_type") for name in ("messages", "system", "response")}


@pytest.mark.parametrize("case", cases("round_trips"))
def test_round_trip(case: Case) -> None:
    def checked() -> Any:
        return promptlathe.check_round_trip(
            case["messages"], case["response"], system=case["system"]
        )

    if "differences" in case:
        assert same(checked(), case["differences"])
    elif any((fault["path"], fault["code"]) in WRONG_ARGUMENT for fault in case["errors"]):
        with pytest.raises(TypeError):
            checked()
    else:
        with pytest.raises(promptlathe.InvalidRequestError) as refused:
            checked()
        assert told(refused.value) == expected_faults(case)
