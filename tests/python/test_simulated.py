"""The simulated answers: useful to look at, always the same, and exact on the way back."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from promptlathe import check_round_trip, find_variables, validate_messages
from promptlathe.server import handler, simulated, strict_json
from promptlathe.server.templatize import MAX_VARIABLES

HEADERS = [
    ("x-api-key", "any"),
    ("anthropic-version", "2023-06-01"),
    ("anthropic-beta", "prompt-tools-2025-04-02"),
    ("content-type", "application/json"),
]


def answer(verb: str, **given: Any) -> dict[str, Any]:
    if "messages" in given:
        given["messages"] = validate_messages(given["messages"])
    return simulated.answer(verb, given)


def text_of(response: dict[str, Any]) -> str:
    text: str = response["messages"][0]["content"][0]["text"]
    return text


# ---- generate -----------------------------------------------------------------------------------


def test_generate_on_the_documented_task() -> None:
    response = answer("generate", task="a chef for a meal prep planning service")
    assert [message["role"] for message in response["messages"]] == ["user", "assistant"]
    assert text_of(response).startswith("You are a chef for a meal prep planning service.")
    assert response["messages"][1]["content"] == [{"type": "text", "text": "<recipe_planning>"}]
    assert response["system"] == ""
    variables = find_variables(response)
    assert "DIETARY_PREFERENCES" in variables
    assert all(name == name.upper() for name in variables)
    assert "<recipe_planning>" in text_of(response)


@pytest.mark.parametrize(
    ("task", "variable"),
    [
        ("Translate product pages", "TARGET_LANGUAGE"),
        ("un traducteur pour des romans", "TARGET_LANGUAGE"),
        ("переводчик стихов", "TARGET_LANGUAGE"),
        ("把文章翻译成别的语言", "TARGET_LANGUAGE"),
        ("Summarize meeting notes", "SUMMARY_LENGTH"),
        ("answer complaints of customers", "CUSTOMER_MESSAGE"),
        ("something else altogether", "INPUT"),
        ("", "INPUT"),
    ],
)
def test_generate_chooses_variables_by_the_task(task: str, variable: str) -> None:
    response = answer("generate", task=task)
    assert variable in find_variables(response)
    assert task.strip() in text_of(response)


def test_generate_uses_the_variables_of_the_task() -> None:
    response = answer("generate", task="Rank {{candidates}} by {{criterion}}")
    assert find_variables(response) == ["candidates", "criterion"]


def test_generate_gives_a_long_task_a_section() -> None:
    task = "Do this.\nThen that.\n" + "And more. " * 100
    assert f"<task>\n{task.strip()}\n</task>" in text_of(answer("generate", task=task))


# ---- improve ------------------------------------------------------------------------------------


def test_improve_folds_the_system_prompt_in_and_heeds_feedback() -> None:
    messages = [{"role": "user", "content": "Concise recipe for {{food}}"}]
    system = "You are a professional meal prep chef"
    plain = answer("improve", messages=messages)
    full = answer("improve", messages=messages, system=system, feedback="Make the recipes shorter")
    assert full["system"] == ""
    assert system in text_of(full) and system not in text_of(plain)
    assert "Make the recipes shorter" in text_of(full)
    assert "Keep the answer short" in text_of(full)
    assert "Keep the answer short" not in text_of(plain)
    assert "Concise recipe for {{food}}" in text_of(plain)
    assert [message["role"] for message in full["messages"]] == ["user", "assistant"]


def test_improve_sets_examples_apart() -> None:
    text = "Concise for {{food}}.\n\nexample\nmandu: Put the mandu in the air fryer."
    improved = text_of(answer("improve", messages=text))
    assert "<task>\nConcise for {{food}}.\n</task>" in improved
    assert "<examples>\nexample\nmandu: Put the mandu in the air fryer.\n</examples>" in improved


def test_improve_joins_messages_and_keeps_the_prefill() -> None:
    prefill = {
        "role": "assistant",
        "content": [{"type": "text", "text": "<{{tag}}>"}, {"type": "text", "text": ""}],
    }
    messages = [
        {"role": "user", "content": "One {{a}}"},
        {
            "role": "user",
            "content": [{"type": "text", "text": "two"}, {"type": "text", "text": ""}],
        },
        prefill,
    ]
    response = answer("improve", messages=messages)
    assert len(response["messages"]) == 2
    assert "One {{a}}\n\ntwo" in text_of(response)
    assert response["messages"][1] == prefill


def test_improve_makes_no_variable_of_what_feedback_says() -> None:
    response = answer(
        "improve", messages="About {{a}}", feedback="{{a}} is fine, {{b}} and {{ {{c}} }} are not"
    )
    assert find_variables(response) == ["a"]
    assert "`b`" in text_of(response)


PIECES = st.sampled_from(
    [
        "{{",
        "}}",
        "{",
        "}",
        " ",
        "\t",
        "\n",
        "a",
        "B_1",
        "{{x}}",
        "{{ y }}",
        "é",
        "中",
        "Example:\n",
        "1",
    ]
)
TEMPLATE = st.lists(PIECES, max_size=20).map("".join)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEMPLATE, min_size=1, max_size=3), system=TEMPLATE, feedback=TEMPLATE)
def test_improve_keeps_every_variable_and_invents_none(
    texts: list[str], system: str, feedback: str
) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    response = answer("improve", messages=messages, system=system, feedback=feedback)
    wanted = set(find_variables(messages)) | set(find_variables(system))
    assert set(find_variables(response)) == wanted


# ---- templatize ---------------------------------------------------------------------------------


def template_of(text: str, system: str = "") -> tuple[str, dict[str, str]]:
    """Templatize one text; check that the way back is exact."""
    response = answer("templatize", messages=text, system=system)
    assert check_round_trip(text, response, system=system) == []
    return text_of(response), response["variable_values"]


def test_templatize_on_the_documented_prompt() -> None:
    response = answer("templatize", messages="Translate hello to German")
    assert response["messages"] == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}"}
            ],
        }
    ]
    assert response["variable_values"] == {
        "WORD_TO_TRANSLATE": "hello",
        "TARGET_LANGUAGE": "German",
    }
    assert response["system"] == ""


def test_templatize_shares_names_with_the_system_prompt() -> None:
    system = "You are a professional English to German translator"
    response = answer("templatize", messages="Translate hello to German", system=system)
    assert response["system"] == (
        "You are a professional {{SOURCE_LANGUAGE}} to {{TARGET_LANGUAGE}} translator"
    )
    assert check_round_trip("Translate hello to German", response, system=system) == []


@pytest.mark.parametrize(
    ("text", "template"),
    [
        (
            'Translate "Good day, all!" into French.',
            'Translate "{{TEXT_TO_TRANSLATE}}" into {{TARGET_LANGUAGE}}.',
        ),
        (
            "Traduis « bonjour » en allemand",
            "Traduis « {{WORD_TO_TRANSLATE}} » en {{TARGET_LANGUAGE}}",
        ),
        (
            "Traduisez bonjour du français vers l'allemand",
            "Traduisez {{WORD_TO_TRANSLATE}} du {{SOURCE_LANGUAGE}} vers l'{{TARGET_LANGUAGE}}",
        ),
        (
            "Переведи слово «привет» на немецкий до 3 марта 2025",
            "Переведи слово «{{WORD_TO_TRANSLATE}}» на {{TARGET_LANGUAGE}} до {{DATE}}",
        ),
        (
            "把“你好”翻译成德语，2025年3月3日前，共12份",
            "把“{{TEXT_TO_TRANSLATE}}”翻译成{{TARGET_LANGUAGE}}，{{DATE}}前，共{{NUMBER}}份",
        ),
        ("翻譯「你好」成德文", "翻譯「{{TEXT_TO_TRANSLATE}}」成{{TARGET_LANGUAGE}}"),
        (
            "Explain photosynthesis to a child in 3 sentences.",
            "Explain {{TOPIC}} to a child in {{NUMBER_OF_SENTENCES}} sentences.",
        ),
        (
            "Summarize this text:\n\nBees fly.\nThey hum.\n",
            "Summarize this text:\n\n{{TEXT_TO_SUMMARIZE}}\n",
        ),
        (
            "Write to bob@example.com about https://example.com/a?b=1 by 2025-03-03 at 14:30.",
            "Write to {{EMAIL_ADDRESS}} about {{URL}} by {{DATE}} at {{TIME}}.",
        ),
        (
            "It costs $25.50, 10% off, at 380F for 7 minutes.",
            "It costs {{AMOUNT}}, {{PERCENTAGE}}% off, at {{TEMPERATURE}} for "
            "{{NUMBER_OF_MINUTES}} minutes.",
        ),
        (
            "Write a letter about gardens for Alice Johnson, who lives in Paris.",
            "Write a letter about {{TOPIC}} for {{NAME}}, who lives in {{PLACE}}.",
        ),
        (
            "Name: Alice\nНазвание: Сад\n主题：蜜蜂",
            "Name: {{NAME}}\nНазвание: {{VALUE}}\n主题：{{TOPIC}}",
        ),
        ("Concise recipe for {{food}}", "Concise recipe for {{food}}"),
        ("1. First\n2. Second", "1. First\n2. Second"),
        ("Translate this for me", "Translate this for me"),
        ("", ""),
    ],
)
def test_templatize_finds_the_values(text: str, template: str) -> None:
    assert template_of(text)[0] == template


def test_templatize_gives_a_value_that_appears_twice_one_variable() -> None:
    template, values = template_of("Translate hello to German. A hello, not hellos, to Germany.")
    assert template.startswith("Translate {{WORD_TO_TRANSLATE}} to {{TARGET_LANGUAGE}}. ")
    assert template.count("{{WORD_TO_TRANSLATE}}") == 2
    assert "hellos" in template and "German}" not in template
    assert list(values.values()).count("hello") == 1


def test_templatize_numbers_different_values_of_a_kind() -> None:
    _, values = template_of("Translate hello to German, then to French.")
    assert values["TARGET_LANGUAGE"] == "German"
    assert values["TARGET_LANGUAGE_2"] == "French"


def test_templatize_avoids_the_names_of_the_input() -> None:
    text = "Translate hello to German as {{TARGET_LANGUAGE}} or {{ word_to_translate }}"
    template, values = template_of(text)
    assert "{{TARGET_LANGUAGE}} or {{ word_to_translate }}" in template
    assert values == {"WORD_TO_TRANSLATE_2": "hello", "TARGET_LANGUAGE_2": "German"}


def test_templatize_avoids_names_that_only_the_system_prompt_uses() -> None:
    text, system = "Translate hello to German", "Always {{TARGET_LANGUAGE}}."
    response = answer("templatize", messages=text, system=system)
    assert response["system"] == system
    assert response["variable_values"]["TARGET_LANGUAGE_2"] == "German"
    assert check_round_trip(text, response, system=system) == []


@pytest.mark.parametrize("text", ["{7}", "{{7}}", '{"hello"}', "{{ {7} }}", "x{7", "7}y"])
def test_templatize_leaves_what_touches_a_brace(text: str) -> None:
    assert "{{NUMBER" not in template_of(text)[0]


def test_templatize_keeps_messages_and_blocks() -> None:
    messages: list[dict[str, Any]] = [
        {
            "role": "user",
            "content": [{"type": "text", "text": "Call 5 people"}, {"type": "text", "text": ""}],
        },
        {"role": "user", "content": "in Paris"},
        {"role": "assistant", "content": "Here are 5 people:"},
    ]
    response = answer("templatize", messages=messages)
    assert [message["role"] for message in response["messages"]] == ["user", "user", "assistant"]
    assert [len(message["content"]) for message in response["messages"]] == [2, 1, 1]
    assert check_round_trip(messages, response) == []
    assert response["messages"][2]["content"][0]["text"] == "Here are {{NUMBER}} people:"
    assert response["variable_values"] == {"NUMBER": "5", "PLACE": "Paris"}


def test_templatize_stops_at_enough_variables() -> None:
    text = " ".join(f"take {number}" for number in range(10, 10 + 2 * MAX_VARIABLES))
    template, values = template_of(text)
    assert len(values) == MAX_VARIABLES
    assert template.endswith(f"take {9 + 2 * MAX_VARIABLES}")


WORDS = st.sampled_from(
    [
        *"""Translate hello to German French " ' « » “ ” {{ }} { } {{WORD_TO_TRANSLATE}} {{DATE 7
    2025-03-03 Alice Bob bob@example.com https://example.com Name: 。 把 翻译成 德语 Переведи на
    немецкий 50% $3 🙂 é""".split(),
        *("{{ NUMBER }}", "Summarize the text:", "\n", "\t", "\0", "\u2028"),
    ]
)
TEXT = st.one_of(
    st.lists(st.one_of(WORDS, st.just(" ")), max_size=30).map("".join),
    st.lists(WORDS, max_size=20).map(" ".join),
    st.text(max_size=60),
)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(TEXT, min_size=1, max_size=3), system=TEXT, prefill=st.none() | TEXT)
def test_templatize_round_trip_is_exact(texts: list[str], system: str, prefill: str | None) -> None:
    messages: list[dict[str, Any]] = [{"role": "user", "content": text} for text in texts]
    if prefill is not None:
        messages.append({"role": "assistant", "content": prefill})
    response = answer("templatize", messages=messages, system=system)
    assert check_round_trip(messages, response, system=system) == []
    used = set(find_variables(messages)) | set(find_variables(system))
    assert not used & response["variable_values"].keys()
    assert used <= set(find_variables(response))
    assert set(find_variables(response)) - used == response["variable_values"].keys()
    assert all(name == name.upper() for name in response["variable_values"])


# ---- All of them --------------------------------------------------------------------------------


HUGE = [
    "a" * 200_000,
    '"' * 200_000,
    "{{" * 100_000,
    "Translate this: " * 12_000,
    "x@" * 100_000,
    "Bob Smith " * 20_000,
    "1,2." * 50_000,
    "Example:\n" * 20_000,
]


@pytest.mark.timing
@pytest.mark.parametrize("text", HUGE, ids=[text[:12] for text in HUGE])
def test_time_is_in_proportion_to_the_text(text: str) -> None:
    """Eight times the text may take no more than some thirty times as long; a square takes 64."""

    def seconds(part: str) -> float:
        messages = [{"role": "user", "content": [{"type": "text", "text": part}]}]
        started = time.process_time()
        simulated.answer("templatize", {"messages": messages})
        simulated.answer("improve", {"messages": messages, "feedback": part})
        simulated.answer("generate", {"task": part})
        return time.process_time() - started

    small = min(seconds(text[: len(text) // 8]) for _ in range(3))
    large = min(seconds(text) for _ in range(3))
    assert large < 30 * small + 0.05


@pytest.mark.parametrize(
    ("verb", "given"),
    [
        ("generate", {"task": "a chef"}),
        ("improve", {"messages": "Concise recipe for {{food}}"}),
        ("templatize", {"messages": "Translate hello to German"}),
    ],
)
def test_answers_are_always_the_same_and_count_tokens(verb: str, given: dict[str, Any]) -> None:
    first, second = answer(verb, **given), answer(verb, **given)
    assert first == second
    assert first == answer(verb, **given, target_model="claude-3-7-sonnet-20250219")
    assert first["usage"]["input_tokens"] == -(-len(next(iter(given.values())).encode()) // 4)
    assert first["usage"]["output_tokens"] > 0


def respond(**changes: Any) -> tuple[int, dict[str, str], Any]:
    request = {
        "method": "POST",
        "path": "/v1/experimental/generate_prompt",
        "headers": HEADERS,
        "body": b'{"task":"a chef"}',
        **changes,
    }
    got = simulated.respond(**request, number=7)
    return got.status, dict(got.headers), json.loads(got.body)


def instead(name: str, value: str, *, other: str = "") -> dict[str, list[tuple[str, str]]]:
    """The usual headers, one of them with another value or replaced by another header."""
    return {"headers": [*without(name), (other or name, value)]}


def without(name: str) -> list[tuple[str, str]]:
    return [pair for pair in HEADERS if pair[0] != name]


def test_every_answer_says_that_it_is_simulated() -> None:
    status, headers, _ = respond()
    assert status == 200
    assert headers["x-promptlathe-simulated"] == "true"
    assert headers["request-id"] == "req_simulated_00000007"
    for kind in ("requests", "tokens", "input-tokens", "output-tokens"):
        assert int(headers[f"anthropic-ratelimit-{kind}-remaining"]) > 0
    status, headers, body = respond(path="/nowhere")
    assert (status, headers["x-promptlathe-simulated"]) == (404, "true")
    assert body["request_id"] == headers["request-id"]


@pytest.mark.parametrize(
    ("changes", "status", "kind"),
    [
        ({"path": "/v1/messages"}, 404, "not_found_error"),
        ({"path": "/v1/experimental/generate_prompt/"}, 404, "not_found_error"),
        ({"method": "GET"}, 405, "invalid_request_error"),
        ({"headers": without("x-api-key")}, 401, "authentication_error"),
        (instead("x-api-key", " "), 401, "authentication_error"),
        (instead("x-api-key", "Basic x", other="authorization"), 401, "authentication_error"),
        ({"api_key": "another"}, 401, "authentication_error"),
        ({"headers": without("anthropic-version")}, 400, "invalid_request_error"),
        (instead("anthropic-version", "2020-01-01"), 400, "invalid_request_error"),
        ({"headers": without("anthropic-beta")}, 400, "invalid_request_error"),
        (instead("anthropic-beta", "x-prompt-tools-2025-04-02"), 400, "invalid_request_error"),
        ({"headers": without("content-type")}, 415, "invalid_request_error"),
        (instead("content-type", "text/plain"), 415, "invalid_request_error"),
        ({"max_body_bytes": 16}, 413, "request_too_large"),
    ],
)
def test_rules_of_the_request(changes: dict[str, Any], status: int, kind: str) -> None:
    got, headers, body = respond(**changes)
    assert (got, body["type"], body["error"]["type"]) == (status, "error", kind)
    assert body["error"]["message"]
    if status == 405:
        assert headers["allow"] == "POST"


@pytest.mark.parametrize(
    "headers",
    [
        [*without("x-api-key"), ("Authorization", "Bearer token")],
        [*without("anthropic-beta"), ("Anthropic-Beta", "a , prompt-tools-2025-04-02,b")],
        [*HEADERS, ("anthropic-beta", "another")],
        [*without("content-type"), ("Content-Type", "application/JSON; charset=utf-8")],
    ],
)
def test_headers_in_other_forms_are_taken(headers: list[tuple[str, str]]) -> None:
    assert respond(headers=headers)[0] == 200


def test_query_is_left_aside() -> None:
    assert respond(path="/v1/experimental/generate_prompt?beta=true")[0] == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "empty"),
        (b"{", "not valid JSON"),
        (b'{"task":"a"} x', "not valid JSON"),
        (b'\xef\xbb\xbf{"task":"a"}', "byte order mark"),
        (b'{"task":"\xff"}', "not UTF-8"),
        (b'{"task":"a","task":"b"}', '"task" is given twice'),
        (b'{"task":NaN}', "NaN"),
        (b'{"task":-Infinity}', "-Infinity"),
        (b'{"task":1e999}', "range of a double"),
        (b'{"task":' + b"1" * 5000 + b"}", "too many digits"),
        (b'{"task":' + b"[" * 201 + b"]" * 201 + b"}", "too deeply"),
        (b'{"task":' + b"[" * 300_000, "too deeply"),
        (b'{"a":' * 100_000, "too deeply"),
        (b"[]", "must be a JSON object, not a list"),
        (b"null", "must be a JSON object, not null"),
        (b"3", "must be a JSON object, not a number"),
        (b"{}", "task: is required"),
        (b'{"task":null}', "task: must be a string, not null"),
        (b'{"task":true}', "task: must be a string, not a boolean"),
        (b'{"task":"\\ud800"}', "task: has a lone surrogate at character 0"),
        (b'{"task":"a","\\ud800":1}', "is not a member"),
        (b'{"task":"a","messages":null}', "messages: is not a member"),
        (b'{"task":"a","target_model":""}', "target_model: must have 1 to 256 characters, not 0"),
        (b'{"task":"a","target_model":3}', "target_model: must be a string or null, not a number"),
    ],
)
def test_faults_of_the_body_are_told(body: bytes, words: str) -> None:
    status, _, answered = respond(body=body)
    assert status == 400
    assert answered["error"]["type"] == "invalid_request_error"
    assert words in answered["error"]["message"]


def test_depth_is_counted_outside_of_strings() -> None:
    assert strict_json.read(b'["' + b"[" * 500 + b'\\"["]') == ["[" * 500 + '"[']
    deep = b"[" * strict_json.MAX_DEPTH + b"]" * strict_json.MAX_DEPTH
    strict_json.read(deep)
    with pytest.raises(strict_json.MalformedJSON):
        strict_json.read(b"[" + deep + b"]")


def test_many_faults_are_cut_short() -> None:
    body = json.dumps({"messages": [{}] * 2000}).encode()
    status, _, answered = respond(path="/v1/experimental/improve_prompt", body=body)
    assert status == 400
    message = answered["error"]["message"]
    assert message.startswith("messages.0.role: ")
    assert message.endswith("and 3980 more")
    assert len(message) < 10_000


def test_error_types_follow_from_the_status() -> None:
    types = {
        status: json.loads(handler.error(handler.Refusal(status, "m"), "id").body)["error"]["type"]
        for status in (400, 402, 403, 409, 418, 422, 429, 500, 502, 504, 529)
    }
    assert types == {
        400: "invalid_request_error",
        402: "billing_error",
        403: "permission_error",
        409: "invalid_request_error",
        418: "invalid_request_error",
        422: "invalid_request_error",
        429: "rate_limit_error",
        500: "api_error",
        502: "api_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
