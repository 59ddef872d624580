"""The simulated improver: given messages as one structured user message and a prefill."""

from __future__ import annotations

import re
from typing import Any

from promptlathe.server.variables import find, numbered, section, tag, texts_of, without_strange

# A line that begins an example: the word alone, numbered, or followed by a colon and text.
_EXAMPLE = re.compile(
    r"^[ \t#*]*(?:for example|examples?|exemples?|примеры?|示例|例子|例如|範例)"
    r"[ \t]*\d{0,3}[ \t]*(?:[:：][^\n]*)?\**[ \t]*$",
    re.IGNORECASE | re.MULTILINE,
)

_STEPS = (
    "Read the whole task before you begin.",
    "List what is asked for, and what limits are set.",
    "Draft an answer that meets each point, then check it against the list.",
)

# What feedback asks for, by its words, and the instruction that follows from it.
_WISHES = (
    (
        r"short|brie[fv]|concis|court|succinct|коро[тч]|кратк|简短|簡短|简洁|簡潔|更短",
        "Keep the answer short: leave out whatever the reader would not miss.",
    ),
    (
        r"detail|longer|thorough|détail|подробн|详细|詳細",
        "Go into detail: give the reason for each point and leave no step out.",
    ),
    (
        r"formal|polite|professional|formel|вежлив|официальн|正式|礼貌",
        "Use a formal and polite tone throughout.",
    ),
    (
        r"simpl|beginner|plain|проще|прост|简单|簡單",
        "Use plain words that a newcomer understands, and explain each term at its first use.",
    ),
    (r"example|exemple|пример|例", "Illustrate each main point with an example."),
    (r"\bjson\b", "Give the result as one valid JSON object."),
    (r"step|étape|шаг|步", "Work in numbered steps."),
)
_WISH_PATTERNS = [(re.compile(words, re.IGNORECASE), line) for words, line in _WISHES]

Messages = list[dict[str, Any]]


def improve(messages: Messages, feedback: str | None, system: str | None) -> dict[str, Any]:
    """Restructure a prompt. Every variable of it is kept and none is made up.

    Parameters
    ----------
    messages
        In normal form: user messages, then perhaps a prefill.
    feedback
        What should get better, or None.
    system
        A system prompt that is folded into the user message, or None.

    Returns
    -------
    dict
        `messages` (one user message and a prefill) and `system` ("").
    """
    prefill = [message for message in messages if message["role"] == "assistant"]
    texts = texts_of([message for message in messages if message["role"] == "user"])
    names = find([system or "", *texts])
    parts = [
        *_role(system),
        *_task([_split(text) for text in texts]),
        *_inputs(names),
        *_wishes(without_strange(feedback or "", names).strip()),
        "Follow these instructions:\n\n" + numbered(_STEPS),
        _output(bool(prefill)),
    ]
    user = {"role": "user", "content": [{"type": "text", "text": "\n\n".join(parts)}]}
    return {"messages": [user, *(prefill or [_own_prefill()])], "system": ""}


def _own_prefill() -> dict[str, Any]:
    return {"role": "assistant", "content": [{"type": "text", "text": "<analysis>"}]}


def _role(system: str | None) -> list[str]:
    return [section("role", system.strip())] if system and system.strip() else []


def _split(text: str) -> tuple[str, str]:
    """The task in a text, and the examples behind it; either may be empty."""
    found = _EXAMPLE.search(text)
    start = found.start() if found else len(text)
    return text[:start].strip(), text[start:].strip()


def _task(split: list[tuple[str, str]]) -> list[str]:
    task = "\n\n".join(before for before, _ in split if before)
    examples = "\n\n".join(behind for _, behind in split if behind)
    lead = "Learn from these examples what a good answer looks like:\n\n"
    return [
        *([section("task", task)] if task else []),
        *([lead + section("examples", examples)] if examples else []),
    ]


def _inputs(names: list[str]) -> list[str]:
    if not names:
        return []
    sections = [section(tag(name), f"{{{{{name}}}}}") for name in names]
    return ["The task refers to these inputs:\n\n" + "\n\n".join(sections)]


def _wishes(feedback: str) -> list[str]:
    if not feedback:
        return []
    lines = [line for words, line in _WISH_PATTERNS if words.search(feedback)]
    head = "The answer has to meet this requirement above all:\n\n" + section(
        "requirement", feedback
    )
    return ["\n\n".join([head, *lines])]


def _output(has_prefill: bool) -> str:
    if has_prefill:
        return (
            "Continue from the beginning of the answer that is already given, and do not repeat it."
        )
    return (
        "Think it through inside <analysis> tags first. "
        "Then give the result inside <answer> tags, and nothing after them."
    )
