"""templatize over a model: it names spans, the library replaces them, and nothing is ever lost.

Whatever a model proposes, rendering the result gives the request back exactly.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from messages_server import asked, client_of, says, scripted, spans
from promptlathe import Client, ModelAnswerError, RawResponse, check_round_trip, find_variables
from promptlathe.mock import Server

TEXT = "Translate hello to German"


def templatized(
    *pairs: tuple[str, str], messages: Any = TEXT, system: str | None = None
) -> RawResponse[Any]:
    """The result of one answer that names these spans; its round trip is exact."""
    with scripted(says(spans(*pairs))) as (_, client):
        raw: RawResponse[Any] = client.with_raw_response.templatize(messages, system=system)
    assert check_round_trip(messages, raw.data, system=system) == []
    return raw


def texts(result: Any) -> list[str]:
    return [block["text"] for message in result["messages"] for block in message["content"]]


def codes(raw: RawResponse[Any]) -> list[tuple[str, str]]:
    """Each note's code and the text of its span."""
    assert raw.notes is not None
    return [(note["code"], note["text"]) for note in raw.notes]


# ---- The rules ----------------------------------------------------------------------------------


def test_well_formed() -> None:
    raw = templatized(("WORD", "hello"), ("LANGUAGE", "German"), system="You know German")
    assert raw.data == {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Translate {{WORD}} to {{LANGUAGE}}"}],
            }
        ],
        "system": "You know {{LANGUAGE}}",
        "variable_values": {"WORD": "hello", "LANGUAGE": "German"},
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }
    assert raw.notes == []


def test_nothing_varies() -> None:
    raw = templatized()
    assert texts(raw.data) == [TEXT]
    assert (raw.data["variable_values"], raw.data["system"], raw.notes) == ({}, "", [])


def test_structure_is_kept() -> None:
    blocks = [{"type": "text", "text": text} for text in ("Ada", "", "by Ada")]
    messages = [
        {"role": "user", "content": blocks},
        {"role": "user", "content": "Ada"},
        {"role": "assistant", "content": "Dear Ada"},
    ]
    raw = templatized(("NAME", "Ada"), messages=messages)
    assert texts(raw.data) == ["{{NAME}}", "", "by {{NAME}}", "{{NAME}}", "Dear {{NAME}}"]
    assert [message["role"] for message in raw.data["messages"]] == ["user", "user", "assistant"]


INVENTED: list[tuple[str, str]] = [("CITY", "Lisbon"), ("WORD", "Hello"), ("A", "hello  to")]


def test_invented_spans_are_dropped_and_noted() -> None:
    raw = templatized(("LANGUAGE", "German"), *INVENTED)
    assert texts(raw.data) == ["Translate hello to {{LANGUAGE}}"]
    assert codes(raw) == [("not_found", text) for _, text in INVENTED]


def test_all_invented_is_no_error() -> None:
    raw = templatized(*INVENTED)
    assert texts(raw.data) == [TEXT] and raw.data["variable_values"] == {}


def test_repeated_texts_are_replaced_wherever_they_stand() -> None:
    raw = templatized(("A", "a b"), messages="a b, a b; a bc a b")
    assert texts(raw.data) == ["{{A}}, {{A}}; a bc {{A}}"]


def test_repeated_spans() -> None:
    """The same twice is one; another name for the same text is dropped."""
    raw = templatized(("WORD", "hello"), ("WORD", "hello"), ("GREETING", "hello"))
    assert raw.data["variable_values"] == {"WORD": "hello"}
    assert codes(raw) == [("clash", "hello")]


def test_nested_spans() -> None:
    """The longer text wins where it stands, the shorter one elsewhere."""
    raw = templatized(
        ("CITY", "York"), ("STATE", "New York"), messages="From New York to York, New York"
    )
    assert texts(raw.data) == ["From {{STATE}} to {{CITY}}, {{STATE}}"]
    assert raw.data["variable_values"] == {"CITY": "York", "STATE": "New York"}


def test_a_nested_span_that_stands_nowhere_else() -> None:
    raw = templatized(("CITY", "York"), ("STATE", "New York"), messages="From New York")
    assert texts(raw.data) == ["From {{STATE}}"]
    assert codes(raw) == [("overlaps", "York")]


def test_overlapping_spans_of_one_length() -> None:
    """The one named first wins."""
    raw = templatized(("FIRST", "one two"), ("LAST", "two six"), messages="one two six")
    assert texts(raw.data) == ["{{FIRST}} six"]
    assert codes(raw) == [("overlaps", "two six")]


def test_spans_that_overlap_themselves() -> None:
    assert texts(templatized(("A", "--"), messages="-----").data) == ["{{A}}{{A}}-"]


def test_within_words() -> None:
    raw = templatized(("A", "he"), ("B", "man"), ("C", "7"), messages="he hears a woman, 7 of 17")
    assert texts(raw.data) == ["{{A}} hears a woman, {{C}} of 17"]
    assert codes(raw) == [("inside_word", "man")]


def test_texts_that_end_in_no_letter_are_found_anywhere() -> None:
    raw = templatized(("A", "€"), ("B", "世"), messages="5€5 世界")
    assert texts(raw.data) == ["5{{A}}5 {{B}}界"]


def test_existing_variables_are_left_alone() -> None:
    raw = templatized(
        ("PLACE", "CITY"), ("ALL", "{{CITY}} now"), messages="In {{CITY}} now, {{ CITY }} CITY"
    )
    assert texts(raw.data) == ["In {{CITY}} now, {{ CITY }} {{PLACE}}"]
    assert codes(raw) == [("overlaps", "{{CITY}} now")]


NAMES = [
    ("word", "WORD"),
    ("Word to translate", "WORD_TO_TRANSLATE"),
    ("{{WORD}}", "WORD"),
    ("2nd word", "ND_WORD"),
    ("__WORD__", "__WORD"),
    ("größe", "GR_E"),
    ("单词", "VALUE"),
    ("", "VALUE"),
    ("A" * 100, "A" * 63),
    ("A\x00B", "A_B"),
]


@pytest.mark.parametrize(("name", "given_name"), NAMES)
def test_names_are_brought_into_form(name: str, given_name: str) -> None:
    raw = templatized((name, "hello"))
    assert raw.data["variable_values"] == {given_name: "hello"}
    assert raw.notes == [
        {
            "code": "renamed",
            "message": f"it is called {given_name}",
            "name": name,
            "text": "hello",
        }
    ]


def test_a_name_that_two_texts_want() -> None:
    raw = templatized(("A", "hello"), ("A", "German"), ("a", "Translate"))
    assert raw.data["variable_values"] == {"A": "hello", "A_2": "German", "A_3": "Translate"}
    assert codes(raw) == [("renamed", "German"), ("renamed", "Translate")]


def test_a_name_that_the_prompt_has_already() -> None:
    raw = templatized(("A", "hello"), messages="{{A}} hello {{A_2}}", system="{{A_3}}")
    assert texts(raw.data) == ["{{A}} {{A_4}} {{A_2}}"]
    assert raw.data["variable_values"] == {"A_4": "hello"}


def test_a_dropped_span_takes_no_name() -> None:
    raw = templatized(("A", "nowhere"), ("A", "hello"))
    assert raw.data["variable_values"] == {"A": "hello"}


def test_empty_texts_and_too_many() -> None:
    words = [f"w{n}" for n in range(300)]
    raw = templatized(
        ("E", ""), *((word.upper(), word) for word in words), messages=" ".join(words)
    )
    assert len(raw.data["variable_values"]) == 256
    assert codes(raw)[0] == ("empty", "")
    assert codes(raw)[1:] == [("too_many", word) for word in words[256:]]


LITERAL = ["{", "}", "{{", "}}", "{{{", "hello}", "{hello", "{{hello", "hello}}", "{{ hello }"]


@pytest.mark.parametrize(
    "around", itertools.product(["", "{", "{{", "{{ "], ["", "}", "}}", " }}"])
)
def test_braces_next_to_a_span(around: tuple[str, str]) -> None:
    before, after = around
    templatized(("A", "hello"), ("B", "-"), messages=f"x {before}hello{after} {before}-{after} y")


@pytest.mark.parametrize("text", LITERAL)
def test_spans_with_braces(text: str) -> None:
    templatized(("A", text), messages=f"x {text} {text}{text}")


def test_a_value_that_looks_like_a_variable() -> None:
    """It is one already, and left alone."""
    raw = templatized(("A", "{{B}}"), messages="x {{B}}")
    assert texts(raw.data) == ["x {{B}}"]


# ---- Forms of the answer ------------------------------------------------------------------------

ONE = [{"name": "WORD", "text": "hello"}]
FORMS = {
    "in a fence": f"<result_variables>\n```json\n{json.dumps(ONE)}\n```\n</result_variables>",
    "JSON": json.dumps({"result_variables": ONE}),
    "JSON of a string": json.dumps({"result_variables": json.dumps(ONE)}),
    "JSON in a fence": f"```\n{json.dumps({'result_variables': ONE})}\n```",
    "chatty": f"Sure!\n{spans(('WORD', 'hello'))}\nAnything else?",
    "more members": json.dumps({"result_variables": [ONE[0] | {"why": "it varies"}]}),
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS.keys())
def test_forms_that_are_used(text: str) -> None:
    with scripted(says(text)) as (_, client):
        assert client.templatize(TEXT)["variable_values"] == {"WORD": "hello"}


UNUSABLE = {
    "no list": '<result_variables>{"WORD": "hello"}</result_variables>',
    "no JSON": "<result_variables>WORD: hello</result_variables>",
    "no objects": '<result_variables>["hello"]</result_variables>',
    "no text": '<result_variables>[{"name": "A"}]</result_variables>',
    "name a number": '<result_variables>[{"name": 1, "text": "a"}]</result_variables>',
    "the template itself": "Translate {{WORD}} to {{LANGUAGE}}",
    "nothing": "",
    "empty": "<result_variables></result_variables>",
    "twice": spans(("A", "hello")) + spans(("B", "German")),
    "null": '{"result_variables": null}',
}


@pytest.mark.parametrize("text", UNUSABLE.values(), ids=UNUSABLE.keys())
def test_forms_that_are_asked_again(text: str) -> None:
    with scripted(says(text), says(spans(("WORD", "hello")))) as (server, client):
        assert client.templatize(TEXT)["variable_values"] == {"WORD": "hello"}
        assert "<result_variables>" in asked(server.requests[1]).rpartition("[user]")[2]
    with scripted(says(text), says(text)) as (_, client):
        with pytest.raises(ModelAnswerError):
            client.templatize(TEXT)


# ---- Whatever is proposed -----------------------------------------------------------------------

# Few letters, so that proposals are found, overlap and stand next to braces and variables.
PIECES = ["a", "b", "ab", " ", "{", "}", "{{", "}}", "{{A}}", "{{ b }}", "é", "世", "\x00", "\n"]
PIECES += ["-", "_", "1"]
SMALL = st.lists(st.sampled_from(PIECES), max_size=24).map("".join)
ANY = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
PROMPTS = SMALL | ANY
SPAN_TEXTS = st.lists(st.sampled_from(PIECES), max_size=5).map("".join) | ANY
SPAN_NAMES = st.sampled_from(["A", "B", "a", "A_2", "", "1", "é", "VALUE", "NAME"]) | ANY


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[dict[str, Any]], str | None, list[dict[str, str]]]:
    """Messages, a system prompt, and what a model proposes: much of it pieces of these."""
    system = draw(st.none() | PROMPTS)
    contents = draw(st.lists(st.lists(PROMPTS, min_size=1, max_size=3), min_size=1, max_size=3))
    roles = ["user"] * len(contents)
    if len(roles) > 1 and draw(st.booleans()):
        roles[-1] = "assistant"
    messages = [
        {"role": role, "content": [{"type": "text", "text": text} for text in content]}
        for role, content in zip(roles, contents, strict=True)
    ]
    wholes = [text for content in contents for text in content] + [system or ""]

    @st.composite
    def pieces(draw: st.DrawFn) -> str:
        text = draw(st.sampled_from(wholes))
        start = draw(st.integers(0, len(text)))
        return text[start : start + draw(st.integers(0, 8))]

    proposals = st.fixed_dictionaries({"name": SPAN_NAMES, "text": pieces() | SPAN_TEXTS})
    return messages, system, draw(st.lists(proposals, max_size=8))


@pytest.fixture(scope="module")
def model() -> Iterator[tuple[Server, Client]]:
    with Server() as server, client_of(server) as client:
        yield server, client


# Derandomized, so that a run fails for a change of the code and never by luck.
@settings(
    max_examples=400, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
@given(case=cases())
def test_the_round_trip_is_exact(model: tuple[Server, Client], case: Any) -> None:
    messages, system, proposals = case
    server, client = model
    server.reset()
    server.script([says(json.dumps({"result_variables": proposals}))])
    raw = client.with_raw_response.templatize(messages, system=system)
    assert check_round_trip(messages, raw.data, system=system) == []
    values = raw.data["variable_values"]
    assert set(values) <= set(find_variables(raw.data))
    before = find_variables({"messages": messages, "system": system or ""})
    assert set(find_variables(raw.data)) == set(before) | set(values)
    assert not set(before) & set(values)
    assert set(values.values()) <= {proposal["text"] for proposal in proposals}
