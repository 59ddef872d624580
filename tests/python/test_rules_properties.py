"""Properties that hold for every input, sought by hypothesis; the oracle says what is right."""

from __future__ import annotations

import copy
import gc
from typing import Any

import agreement
import hypothesis
import oracle
import promptlathe
import pytest
import random_inputs
from agreement import ask, same, told
from hostile import (
    HostileDict,
    HostileInt,
    HostileList,
    HostileObject,
    HostileStr,
    HostileTuple,
    armed,
)
from hypothesis import given
from hypothesis import strategies as st

# Derandomized, so that a run fails for a change of the code and never by luck.
settings = hypothesis.settings(
    max_examples=200, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip

# ---- Strategies ----------------------------------------------------------------------------------

surrogates = st.characters(categories=["Cs"])
# Hypothesis leaves lone surrogates out unless asked.
any_text = st.text(st.one_of(st.characters(), st.sampled_from("\0{}\n"), surrogates), max_size=12)
good_text = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.just("\0")), max_size=12)

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=4), any_text,
    st.sampled_from(["user", "assistant", "text", "system", "image"]),
    any_text.map(HostileStr), st.builds(HostileObject), st.integers().map(HostileInt),
)  # fmt: skip
member_names = st.one_of(
    st.sampled_from(["role", "content", "type", "text", "cache_control", "name"]), any_text
)
keys = st.one_of(
    member_names, member_names.map(HostileStr), st.none(), st.booleans(), st.integers(),
    st.binary(max_size=3), st.tuples(st.integers()), st.integers().map(HostileInt),
)  # fmt: skip


def _containers(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inside, max_size=4)
    objects = st.dictionaries(keys, inside, max_size=4)
    return st.one_of(
        lists, lists.map(tuple), lists.map(HostileList), lists.map(HostileTuple), objects,
        objects.map(HostileDict), st.sets(st.integers(), max_size=2),
    )  # fmt: skip


anything = st.recursive(scalars, _containers, max_leaves=20)

# Mostly of the right shape, so that faults deep inside are met as well.
blocks = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"type": st.just("text") | anything, "text": any_text | anything,
                      "cache_control": anything, "citations": st.none() | anything}
    ),
    anything,
)  # fmt: skip
message = st.one_of(
    st.fixed_dictionaries(
        {}, optional={"role": st.sampled_from(["user", "assistant"]) | anything,
                      "content": any_text | st.lists(blocks, max_size=3) | anything,
                      "name": anything}
    ),
    anything,
)  # fmt: skip
near_messages = st.one_of(st.lists(message, max_size=4), st.lists(message, max_size=3).map(tuple))

roles = st.sampled_from(["user", "user", "assistant"])
template_pieces = st.one_of(
    st.sampled_from(["{", "{{", "}}", "}", " ", "\t", "A", "b_1", "{{A}}", "{{ b_1 }}", "\n", "É"]),
    good_text,
)
template_texts = st.lists(template_pieces, max_size=10).map("".join)
names = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,5}\Z")
values = st.dictionaries(names | st.sampled_from(["A", "b_1"]), template_texts, max_size=5)
valid_messages = st.builds(
    lambda texts, prefill: [
        *({"role": "user", "content": text} for text in texts),
        *({"role": "assistant", "content": text} for text in prefill),
    ],
    st.lists(template_texts, min_size=1, max_size=3),
    st.lists(template_texts, max_size=1),
)

prompt_pieces = st.one_of(st.sampled_from(random_inputs._PIECES), any_text)
prompts = st.lists(prompt_pieces, max_size=8).map("".join)
valid_prompts = st.builds(
    "{}\n\nHuman:{}\n\nAssistant:{}".format,
    good_text.filter(lambda text: "Assistant" not in text), good_text,
    good_text.filter(lambda text: "Human" not in text),
)  # fmt: skip


def test_the_comparison_itself_sees_types_and_order() -> None:
    assert (
        not same({"a": 1}, {"a": True}) and not same([1], (1,)) and not same("a", HostileStr("a"))
    )
    assert not same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert same([{"a": "b"}], [{"a": "b"}])
    before = agreement.snapshot([{"a": [1]}])
    assert agreement.unchanged(before)
    before[0][0].append(2)
    assert not agreement.unchanged(before)


# ---- Messages ------------------------------------------------------------------------------------


@settings
@given(anything)
def test_a_value_of_any_shape_gets_the_oracles_answer(value: Any) -> None:
    agreement.messages_agree(value)


@settings
@given(near_messages)
def test_messages_of_nearly_the_right_shape_get_the_oracles_answer(value: Any) -> None:
    agreement.messages_agree(value)


@settings
@given(valid_messages)
def test_the_normal_form_is_its_own_normal_form(messages: Any) -> None:
    normal = promptlathe.validate_messages(messages)
    assert same(promptlathe.validate_messages(normal), normal)
    assert normal is not messages


def test_what_is_returned_may_be_changed_without_a_trace() -> None:
    prompt = [
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}]},
        {"role": "assistant", "content": "c"},
    ]
    before, expected = copy.deepcopy(prompt), oracle.normal_form(prompt)
    for _ in range(2):
        normal = promptlathe.validate_messages(prompt)
        assert same(normal, expected)
        assert prompt == before
        for message in normal:
            message["content"][0].update(type="x", text="x", more="x")
            message["content"].append("x")
            message.update(role="x", content="x", more="x")


@pytest.mark.parametrize("role", ["user", "assistant"])
def test_a_role_is_returned_as_the_string_that_was_given(role: str) -> None:
    equal = role[:1] + role[1:]  # another object than the interned one
    assert equal is not role
    for string in (role, equal):
        last = {"role": string, "content": "b"}
        normal = promptlathe.validate_messages([{"role": "user", "content": "a"}, last])
        assert normal[1]["role"] is string
    [message] = promptlathe.validate_messages([{"role": HostileStr("user"), "content": "a"}])
    assert type(message["role"]) is str


def ring_of_messages() -> list[Any]:
    ring: list[Any] = [{"role": "user", "content": "a"}]
    ring.append(ring)
    ring.append({"role": "user", "content": ring, "self": ring})
    return ring


def ring_of_blocks() -> list[Any]:
    block: dict[Any, Any] = {"type": "text", "text": "a"}
    block["self"] = block
    content: list[Any] = [block]
    content.append(content)
    return [{"role": "user", "content": content}]


def shared_parts() -> list[Any]:
    block = {"type": "text", "text": "a"}
    content = [block, block]
    message = {"role": "user", "content": content}
    return [message, message, message]


def nested(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"content": value}
    return value


def odd_shapes() -> list[Any]:
    deep = nested(100_000)
    return [
        ring_of_messages(), ring_of_blocks(), shared_parts(), deep, [deep],
        [{"role": "user", "content": deep}],
        [{"role": "user", "content": [{"type": "text", "text": deep, "extra": deep}]}],
        [{"role": float("nan"), "content": float("nan")}], float("nan"), [float("inf")],
        [{float("nan"): 1, float("inf"): 2, "role": "user", "content": "a"}],
    ]  # fmt: skip


@pytest.mark.parametrize("index", range(len(odd_shapes())))
def test_rings_deep_values_and_nan(index: int) -> None:
    agreement.messages_agree(odd_shapes()[index])


def test_only_the_first_thousand_faults_are_kept_and_all_are_counted() -> None:
    for count in (999, 1000, 1001, 2500):
        with pytest.raises(promptlathe.InvalidRequestError) as caught:
            promptlathe.validate_messages([None] * count)
        assert caught.value.total == count
        assert told(caught.value) == [
            (f"messages.{index}", "wrong_type") for index in range(min(count, 1000))
        ]


def test_faults_come_message_by_message_in_the_documented_order() -> None:
    messages = [
        {
            "zebra": 1, "content": [
                {"b": 1, "text": 2, "cache_control": {}, 5: None, "a": 3, "type": "text"},
                {"b": 1, "cache_control": {}, 5: 6, "type": "image"},
                {"type": "text", "text": "\ud800", "\ud800": None, "a\udc00": 1, None: 1, 4: 1},
                7,
            ], "cache_control": 1, "role": "assistant", b"k": None, 3: 4,
        },
        {"role": "narrator", "content": [], "Role": 0},
        {},
    ]  # fmt: skip
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.validate_messages(messages)
    assert told(caught.value) == [
        ("messages.0.content.0.text", "wrong_type"),
        ("messages.0.content.0.b", "unexpected_key"),
        ("messages.0.content.0.cache_control", "prompt_caching"),
        ("messages.0.content.0", "wrong_type"),
        ("messages.0.content.0.a", "unexpected_key"),
        ("messages.0.content.1.type", "not_text"),
        ("messages.0.content.2.text", "not_unicode"),
        ("messages.0.content.2", "not_unicode"),
        ("messages.0.content.2", "wrong_type"),
        ("messages.0.content.3", "wrong_type"),
        ("messages.0.zebra", "unexpected_key"),
        ("messages.0.cache_control", "unexpected_key"),
        ("messages.0", "wrong_type"),
        ("messages.0.role", "assistant_not_last"),
        ("messages.1.role", "bad_role"),
        ("messages.1.content", "empty"),
        ("messages.1.Role", "unexpected_key"),
        ("messages.2.role", "missing"),
        ("messages.2.content", "missing"),
    ]
    assert told(caught.value) == oracle.message_faults(messages)


class TwoFaced(str):
    """Hashes and compares as the interpreter's own strings would never do."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        return self is other


def test_a_key_of_a_subclass_that_hides_from_look_up_is_still_read() -> None:
    hidden = {TwoFaced("role"): "user", TwoFaced("content"): TwoFaced("a")}
    assert same(
        promptlathe.validate_messages([hidden]),
        [{"role": "user", "content": [{"type": "text", "text": "a"}]}],
    )
    assert promptlathe.render("{{A}}", {TwoFaced("A"): TwoFaced("b")}) == "b"


@pytest.mark.parametrize("prompt", ["{{A}}", {"role": "user", "content": "{{A}}"}])
def test_a_message_given_twice_by_hidden_keys_crashes_nothing(prompt: Any) -> None:
    doubled = {TwoFaced("role"): "user", "role": 3, "content": prompt, TwoFaced("content"): "b"}
    with armed():
        for function in (promptlathe.validate_messages, promptlathe.find_variables):
            try:
                function([doubled])
            except promptlathe.InvalidRequestError as error:
                assert error.total >= 1


class HostileInt(int):
    def __index__(self) -> int:
        raise AssertionError("a method of the number ran")

    __int__ = __trunc__ = __index__


class HostileFloat(float):
    def __float__(self) -> float:
        raise AssertionError("a method of the number ran")


def test_numbers_of_subclasses_are_rendered_as_exact_ones() -> None:
    usage = {"tokens": HostileInt(10**30), "rate": HostileFloat(0.5), "whole": 7, "cached": True}
    rendered = promptlathe.render({"messages": [], "system": "", "usage": usage}, {})
    exact = {"tokens": 10**30, "rate": 0.5, "whole": 7, "cached": True}
    assert same(rendered, {"messages": [], "system": "", "usage": exact})


# ---- Legacy prompts ------------------------------------------------------------------------------


@settings
@given(prompts, st.sampled_from([None, 0, 99_999]))
def test_a_prompt_gets_the_oracles_answer(prompt: str, tokens: int | None) -> None:
    agreement.prompt_agrees(prompt, tokens)


@settings
@given(prompts)
def test_sanitizing_twice_is_sanitizing_once(prompt: str) -> None:
    once, _ = promptlathe.sanitize_completion_prompt(prompt)
    again, changes = promptlathe.sanitize_completion_prompt(once)
    assert again is once and changes == []


@settings
@given(valid_prompts)
def test_a_sanitized_valid_prompt_stays_valid(prompt: str) -> None:
    sanitized = promptlathe.validate_completion_prompt(prompt)
    assert promptlathe.validate_completion_prompt(sanitized) is sanitized
    converted = promptlathe.convert_completion_prompt(prompt)
    assert same(promptlathe.convert_completion_prompt(sanitized), converted)


@settings
@given(any_text, st.sampled_from(["\ud800", "\udfff", "\ud83d\udc4b"]), any_text)
def test_a_lone_surrogate_is_the_only_fault_of_its_prompt(
    before: str, surrogate: str, after: str
) -> None:
    prompt = before + surrogate + after
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(prompt, count_tokens=lambda text: 0)
    assert agreement.told_of_prompt(caught.value) == [
        ("not_unicode", oracle.lone_surrogate(prompt))
    ]


LONG = "\n\nHuman: " + "x" * 99_999 + "\n\nAssistant: "


class Boom(Exception):
    pass


@pytest.mark.parametrize("answer", [None, 1.0, "5", b"5", True, HostileObject()])
def test_a_count_that_is_no_int_is_a_type_error(answer: Any) -> None:
    with pytest.raises(TypeError):
        promptlathe.validate_completion_prompt(LONG, count_tokens=lambda text: answer)


@pytest.mark.parametrize(
    ("answer", "code"),
    [(99_998, None), (99_999, "too_many_tokens"), (10**40, "too_many_tokens"), (0, None)],
)
def test_the_count_decides_for_a_long_prompt(answer: int, code: str | None) -> None:
    if code is None:
        got = promptlathe.validate_completion_prompt(LONG, count_tokens=lambda text: answer)
        assert got == LONG.rstrip()
        return
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(LONG, count_tokens=lambda text: answer)
    assert agreement.told_of_prompt(caught.value) == [(code, None)]


def test_the_counters_exception_passes_through() -> None:
    def count_tokens(text: str) -> int:
        raise Boom(len(text))

    for function in (promptlathe.validate_completion_prompt, promptlathe.convert_completion_prompt):
        with pytest.raises(Boom) as caught:
            function(LONG, count_tokens=count_tokens)
        assert caught.value.args == (len(LONG) - 1,)


def test_the_counter_is_not_asked_about_a_prompt_that_surely_fits() -> None:
    def count_tokens(text: str) -> int:
        raise Boom

    fits = "\n\nHuman:" + "x" * (99_998 - 20) + "\n\nAssistant:"
    assert len(fits) == 99_998
    assert promptlathe.validate_completion_prompt(fits, count_tokens=count_tokens) is fits
    # Length is counted after sanitizing, in bytes.
    assert promptlathe.validate_completion_prompt(fits + " \n", count_tokens=count_tokens) == fits
    with pytest.raises(Boom):
        promptlathe.validate_completion_prompt(fits + "!", count_tokens=count_tokens)
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(fits.replace("x", "é", 1))
    assert agreement.told_of_prompt(caught.value) == [("token_count_unknown", None)]


def test_every_fault_of_a_long_prompt_is_told_at_once() -> None:
    prompt = "\n\nAssistant: " + "x" * 100_000 + "\n\nHuman: b"
    with pytest.raises(promptlathe.InvalidPromptError) as caught:
        promptlathe.validate_completion_prompt(prompt)
    assert agreement.told_of_prompt(caught.value) == [
        ("human_turn_not_first", 0),
        ("assistant_turn_not_last", 13 + 100_000),
        ("token_count_unknown", None),
    ]


@pytest.mark.parametrize("prompt", [None, b"\n\nHuman:", 3, ["a"], HostileObject()])
def test_a_prompt_that_is_no_str_is_a_type_error(prompt: Any) -> None:
    for function in (
        promptlathe.sanitize_completion_prompt,
        promptlathe.validate_completion_prompt,
        promptlathe.convert_completion_prompt,
    ):
        with pytest.raises(TypeError):
            ask(function, prompt)


# ---- Templates -----------------------------------------------------------------------------------


def dressed(messages: list[Any], system: str) -> list[Any]:
    return [messages, {"system": system, "messages": messages, "usage": [], "variable_values": {}}]


@settings
@given(template_texts, valid_messages, values, st.booleans())
def test_find_and_render_get_the_oracles_answer(
    text: str, messages: list[Any], values: dict[str, str], partial: bool
) -> None:
    for prompt in [text, *dressed(messages, text)]:
        agreement.template_agrees(prompt, values, partial=partial)


@settings
@given(template_texts, values)
def test_rendering_with_all_values_leaves_only_what_the_values_brought(
    text: str, values: dict[str, str]
) -> None:
    names = promptlathe.find_variables(text)
    assert promptlathe.render(text, dict.fromkeys(names, "")) == oracle.VARIABLE.sub("", text)
    # Each variable replaced by itself in its plain spelling finds the same names again.
    itself = {name: f"{{{{{name}}}}}" for name in names}
    assert promptlathe.find_variables(promptlathe.render(text, itself)) == names
    assert promptlathe.render(text, {}, partial=True) == text


@settings
@given(st.lists(good_text, min_size=1, max_size=4), st.data())
def test_random_templates_make_the_round_trip(texts: list[str], data: st.DataObject) -> None:
    """A request cut into variables at any places is given back exactly by rendering."""
    values: dict[str, str] = {}
    answered = []
    for text in texts:
        # A text with braces of its own could make a variable with its neighbours.
        text = text.replace("{", "(")
        cut = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(cut, len(text)))
        name = f"V{len(values)}"
        values[name] = text[cut:end]
        answered.append((text, f"{text[:cut]}{{{{{name}}}}}{text[end:]}"))
    request = [{"role": "user", "content": [{"type": "text", "text": was} for was, _ in answered]}]
    response = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": now} for _, now in answered]}
        ],
        "system": answered[0][1], "usage": {}, "variable_values": values,
    }  # fmt: skip
    exact = promptlathe.check_round_trip(request, response, system=answered[0][0])
    assert exact == []
    damaged = copy.deepcopy(response)
    damaged["variable_values"]["V0"] += "!"
    told = promptlathe.check_round_trip(request, damaged, system=answered[0][0])
    assert {difference["path"] for difference in told} == {
        "messages.0.content.0.text", "system",
    }  # fmt: skip
    assert all(difference["code"] == "text" for difference in told)


@settings
@given(anything)
def test_a_template_of_any_shape_is_answered_or_refused(value: Any) -> None:
    no_answer = {"messages": [], "system": "", "usage": {}, "variable_values": {}}
    for question, *args in (
        (promptlathe.find_variables, value),
        (promptlathe.render, value, {"A": "a"}),
        (promptlathe.render, "{{A}} {{b_1}}", value),
        (promptlathe.check_round_trip, value, no_answer),
        (promptlathe.check_round_trip, "a", value),
        (promptlathe.check_round_trip, "a", {**no_answer, "messages": value}),
        (promptlathe.check_round_trip, "a", {**no_answer, "variable_values": value}),
        (promptlathe.check_round_trip, "a", {**no_answer, "system": value}),
    ):
        try:
            ask(question, *args)
        except promptlathe.InvalidRequestError as error:
            assert told(error)
        except promptlathe.MissingVariableError as error:
            assert error.names
        except TypeError as error:
            assert str(error)


@pytest.mark.parametrize("wrong", [None, 3, b"{{A}}", 1.5, {1, 2}, HostileObject()])
def test_a_top_level_argument_of_the_wrong_type_is_a_type_error(wrong: Any) -> None:
    for question, *args in (
        (promptlathe.find_variables, wrong),
        (promptlathe.render, wrong, {}),
        (promptlathe.render, "{{A}}", wrong),
        (promptlathe.check_round_trip, wrong, {}),
        (promptlathe.check_round_trip, "a", wrong),
    ):
        with pytest.raises(TypeError):
            ask(question, *args)


def test_the_values_may_name_more_than_the_template_has() -> None:
    strange = {"A": "x", "B": None, 5: 6, None: [], "\ud800": "s", "C": "\ud800"}
    assert promptlathe.render("{{A}}", strange) == "x"


def response_with(**more: Any) -> dict[str, Any]:
    return {"messages": [], "system": "{{A}}", **more}


def test_what_nobody_documented_is_handed_on() -> None:
    more = {"usage": [1.5, None, True, 10**30], "new": nested(150), "x": {"{{A}}": "{{A}}"}}
    rendered = promptlathe.render(response_with(**more), {"A": "a"})
    assert same(rendered, {"messages": [], "system": "a", **more})


@pytest.mark.parametrize("make", [lambda: nested(100_000), ring_of_messages, lambda: nested(1000)])
def test_what_is_too_deep_to_hand_on_is_refused_by_name(make: Any) -> None:
    with pytest.raises(promptlathe.InvalidRequestError) as caught:
        promptlathe.render(response_with(usage=make()), {"A": "a"})
    assert told(caught.value) == [("usage", "too_deep")]


def test_text_without_a_utf8_form_is_refused_where_it_stands() -> None:
    for prompt, values, path in (
        ("\ud800", {}, "prompt"),
        ([{"role": "user", "content": "\udfff"}], {}, "messages.0.content"),
        ({"messages": [], "system": "a\ud800"}, {}, "system"),
        ("{{A}}", {"A": "\ud800"}, "values.A"),
    ):
        with pytest.raises(promptlathe.InvalidRequestError) as caught:
            promptlathe.render(prompt, values)
        assert told(caught.value) == [(path, "not_unicode")]


def test_results_are_new_and_the_input_stays() -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "a {{A}}"}]}]
    before = copy.deepcopy(messages)
    rendered = promptlathe.render(messages, {"A": "b"})
    rendered[0]["content"][0]["text"] = "changed"
    rendered[0]["role"] = "changed"
    assert messages == before


def test_no_object_is_left_behind_by_many_refused_calls() -> None:
    """Containers that the library forgot to release would be seen by the collector."""

    def work() -> None:
        for index in range(200):
            for prompt in (index, [index], [{"role": "user", "content": [{}], index: 1}]):
                with pytest.raises(promptlathe.InvalidRequestError):
                    promptlathe.validate_messages(prompt)
            with pytest.raises(promptlathe.MissingVariableError):
                promptlathe.render("{{A}}", {})

    work()
    gc.collect()
    before = len(gc.get_objects())
    work()
    gc.collect()
    assert len(gc.get_objects()) - before < 100
