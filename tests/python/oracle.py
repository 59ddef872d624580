"""The rules of the documented contract once more, in plain Python.

Nothing here is shared with the library: the tests ask both and compare. It is written to be read
beside the contract, not to be fast. Subclasses are read by the methods of the built-in types, as
the library reads them through the C API.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, TypeGuard

KEPT = 1000
TOKEN_LIMIT = 100_000 - 1
ASCII_SPACE = " \t\n\r\v\f"

Fault = tuple[str, str]
Values = dict[str, str]


class Refused(Exception):
    """Input that breaks the rules; `faults` holds every (path, code) in order."""

    def __init__(self, faults: list[Any]) -> None:
        super().__init__(faults)
        self.faults = faults


class Missing(Exception):
    """Variables without a value, in first-seen order."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names)
        self.names = names


# ---- Values as the library sees them ------------------------------------------------------------


def is_text(value: Any) -> TypeGuard[str]:
    return issubclass(type(value), str)


def is_object(value: Any) -> bool:
    return issubclass(type(value), dict)


def is_list(value: Any) -> bool:
    return issubclass(type(value), (list, tuple))


def plain(text: str) -> str:
    """The same text as an exact str."""
    return str.__str__(text)


def items(value: Any) -> list[Any]:
    base = list if issubclass(type(value), list) else tuple
    return list(base.__iter__(value))


def members(value: dict[Any, Any]) -> list[tuple[Any, Any]]:
    return list(dict.items(value))


def lone_surrogate(text: str) -> int | None:
    """The place of the first lone surrogate."""
    for place, character in enumerate(plain(text)):
        if "\ud800" <= character <= "\udfff":
            return place
    return None


def has_utf8(text: str) -> bool:
    try:
        plain(text).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Absent:
    """Stands for a member that is not there."""


ABSENT = _Absent()


def member(value: dict[Any, Any], name: str) -> Any:
    for key, held in members(value):
        if is_text(key) and plain(key) == name:
            return held
    return ABSENT


# ---- Input messages ------------------------------------------------------------------------------


def message_faults(messages: Any) -> list[Fault]:
    """Every fault of the messages of improve and templatize, in the documented order."""
    if is_text(messages):
        return [] if has_utf8(messages) else [("messages", "not_unicode")]
    if not is_list(messages):
        return [("messages", "wrong_type")]
    everyone = items(messages)
    if not everyone:
        return [("messages", "empty")]
    faults: list[Fault] = []
    for index, message in enumerate(everyone):
        faults += _one_message(message, f"messages.{index}", index == len(everyone) - 1)
    roles = [_role(message) for message in everyone]
    if all(role in ("user", "assistant") for role in roles) and "user" not in roles:
        faults.append(("messages", "no_user_message"))
    return faults


def _role(message: Any) -> str | None:
    role = member(message, "role") if is_object(message) else ABSENT
    return plain(role) if is_text(role) else None


def _one_message(message: Any, path: str, last: bool) -> list[Fault]:
    if not is_object(message):
        return [(path, "wrong_type")]
    faults = _role_faults(member(message, "role"), f"{path}.role")
    faults += _content_faults(member(message, "content"), f"{path}.content")
    faults += _other_members(message, path, {"role", "content"}, in_block=False)
    if _role(message) == "assistant" and not last:
        faults.append((f"{path}.role", "assistant_not_last"))
    return faults


def _role_faults(role: Any, path: str) -> list[Fault]:
    if role is ABSENT:
        return [(path, "missing")]
    if not is_text(role):
        return [(path, "wrong_type")]
    return [] if plain(role) in ("user", "assistant") else [(path, "bad_role")]


def _content_faults(content: Any, path: str) -> list[Fault]:
    if is_text(content) or content is ABSENT:
        return _text_faults(content, path)
    if not is_list(content):
        return [(path, "wrong_type")]
    blocks = items(content)
    if not blocks:
        return [(path, "empty")]
    faults: list[Fault] = []
    for index, block in enumerate(blocks):
        faults += _block_faults(block, f"{path}.{index}")
    return faults


def _text_faults(text: Any, path: str) -> list[Fault]:
    if text is ABSENT:
        return [(path, "missing")]
    if not is_text(text):
        return [(path, "wrong_type")]
    return [] if has_utf8(text) else [(path, "not_unicode")]


def _block_faults(block: Any, path: str) -> list[Fault]:
    if not is_object(block):
        return [(path, "wrong_type")]
    kind = member(block, "type")
    if kind is ABSENT:
        return [(f"{path}.type", "missing")]
    if not is_text(kind):
        return [(f"{path}.type", "wrong_type")]
    if plain(kind) != "text":
        return [(f"{path}.type", "not_text")]
    faults = _text_faults(member(block, "text"), f"{path}.text")
    return faults + _other_members(block, path, {"type", "text"}, in_block=True)


def _other_members(value: Any, path: str, known: set[str], *, in_block: bool) -> list[Fault]:
    faults: list[Fault] = []
    for key, held in members(value):
        if not is_text(key):
            fault = (path, "wrong_type")
        elif not has_utf8(key):
            fault = (path, "not_unicode")
        elif plain(key) in known or held is None:
            continue
        elif in_block and plain(key) == "cache_control":
            fault = (f"{path}.cache_control", "prompt_caching")
        else:
            fault = (f"{path}.{plain(key)}", "unexpected_key")
        # A fault of keys is told once per object and code; other paths cannot repeat in a dict.
        if fault not in faults:
            faults.append(fault)
    return faults


def normal_form(messages: Any) -> list[dict[str, Any]]:
    """The messages as they are sent, or Refused."""
    faults = message_faults(messages)
    if faults:
        raise Refused(faults)
    if is_text(messages):
        return [{"role": "user", "content": [_block(messages)]}]
    return [
        {"role": _role(message), "content": [_block(text) for text in _texts(message)]}
        for message in items(messages)
    ]


def _block(text: str) -> dict[str, str]:
    return {"type": "text", "text": plain(text)}


def _texts(message: Any) -> list[str]:
    content = member(message, "content")
    if is_text(content):
        return [content]
    return [member(block, "text") for block in items(content)]


# ---- Legacy prompts ------------------------------------------------------------------------------

MARKER = re.compile(r"\n\n(Human|Assistant):")


class PromptFault(NamedTuple):
    """A fault of a legacy prompt and the offsets that may be given for it."""

    code: str
    offsets: frozenset[int | None]


NOWHERE: frozenset[int | None] = frozenset({None})


def sanitize(prompt: str) -> tuple[str, list[str]]:
    """The sanitized prompt and the changes made."""
    text, changes = plain(prompt), []
    body = text.lstrip(ASCII_SPACE)
    if body.startswith("Human:") and text != "\n\n" + body:
        text = "\n\n" + body
        changes.append("normalized_leading_newlines")
    if text != text.rstrip(ASCII_SPACE):
        text = text.rstrip(ASCII_SPACE)
        changes.append("stripped_trailing_whitespace")
    return text, changes


def prompt_faults(
    prompt: str, count_tokens: Callable[[str], int] | None = None
) -> list[PromptFault]:
    """Every fault of a legacy prompt, in order. The prompt is sanitized first."""
    if not has_utf8(prompt):
        return [PromptFault("not_unicode", frozenset({lone_surrogate(prompt)}))]
    text, changes = sanitize(prompt)
    # Offsets count in the prompt as given: only its beginning can have moved.
    moved = 0
    if "normalized_leading_newlines" in changes:
        moved = plain(prompt).index("Human:") - 2
    faults = _turn_faults(text, moved)
    if len(text.encode("utf-8")) >= TOKEN_LIMIT:
        if count_tokens is None:
            faults.append(PromptFault("token_count_unknown", NOWHERE))
        elif count_tokens(text) >= TOKEN_LIMIT:
            faults.append(PromptFault("too_many_tokens", NOWHERE))
    return faults


def _turn_faults(text: str, moved: int) -> list[PromptFault]:
    markers = list(MARKER.finditer(text))
    turns = [marker[1] for marker in markers]
    faults = []
    if "Human" not in turns:
        faults.append(PromptFault("missing_human_turn", near_misses(text, "Human", moved)))
    elif turns[0] == "Assistant":
        place = frozenset({markers[0].start() + moved})
        faults.append(PromptFault("human_turn_not_first", place))
    if "Assistant" not in turns:
        places = near_misses(text, "Assistant", moved)
        faults.append(PromptFault("missing_assistant_turn", places))
    elif turns[-1] == "Human":
        place = frozenset({markers[-1].start() + moved})
        faults.append(PromptFault("assistant_turn_not_last", place))
    return faults


def near_misses(text: str, word: str, moved: int = 0) -> frozenset[int | None]:
    """Where a near miss of the marker may be said to be; None when there need be none.

    The contract lists the near misses but neither which of several is named nor what counts when
    two slips meet, so every place that a reader would accept is allowed.
    """
    places: set[int | None] = set()
    for match in re.finditer(word, text, re.IGNORECASE):
        places.update(place + moved for place in _white_run(text, match.start()))
    if not any(re.search(pattern, text) for pattern in _near_patterns(word)):
        places.add(None)
    return frozenset(places)


def _white_run(text: str, end: int) -> Iterator[int]:
    """The line ends in the white space before `end`; at the prompt's start also the word itself."""
    start = end
    while start > 0 and text[start - 1] in ASCII_SPACE:
        start -= 1
    if start == 0:
        yield from (0, end)
    yield from (place for place in range(start, end) if text[place] in "\r\n")


def _near_patterns(word: str) -> list[str]:
    """The near misses that the contract names: a marker with one slip."""
    return [
        rf"(?<![\r\n])\n{word}:",  # after one newline only
        rf"\r\n\r\n{word}:",  # after CRLF line ends
        rf"\n\n(?i:{word}):",  # in another case
        rf"\n\n{word}(?=[ \n]|\Z)",  # without its colon
        rf"\n\n {word}:",  # with a space before it
        rf"\n\n{word} :",  # with a space before its colon
        rf"\n[ \t]+\n{word}:",  # after a blank line that holds white space
    ]


def validate_prompt(prompt: str, count_tokens: Callable[[str], int] | None = None) -> str:
    """The sanitized prompt, or Refused."""
    faults = prompt_faults(prompt, count_tokens)
    if faults:
        raise Refused(faults)
    return sanitize(prompt)[0]


def convert_prompt(prompt: str, count_tokens: Callable[[str], int] | None = None) -> dict[str, Any]:
    """The prompt as {"system", "messages"}, or Refused."""
    text = validate_prompt(prompt, count_tokens)
    # split() gives the text before the first marker, then each turn's name and text.
    system, *turns = MARKER.split(text)
    messages = []
    for name, said in zip(turns[::2], turns[1::2], strict=True):
        said = said.strip(ASCII_SPACE)
        role = {"Human": "user", "Assistant": "assistant"}[name]
        if said:
            messages.append({"role": role, "content": [_block(said)]})
    return {"system": system.strip(ASCII_SPACE), "messages": messages}


# ---- Templates -----------------------------------------------------------------------------------

VARIABLE = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}")


def find_variables(prompt: Any) -> list[str]:
    """The names in a str, in well-formed messages or in a well-formed response."""
    found = [VARIABLE.findall(plain(text)) for text in _all_texts(prompt)]
    return list(dict.fromkeys(name for names in found for name in names))


def _all_texts(prompt: Any) -> Iterator[str]:
    if is_text(prompt):
        yield prompt
    elif is_list(prompt):
        for message in items(prompt):
            yield from _template_texts(message)
    else:
        yield member(prompt, "system")
        yield from _all_texts(member(prompt, "messages"))


def _template_texts(message: dict[str, Any]) -> list[str]:
    """Blocks of other types, as a response may hold them, have no template in them."""
    content = member(message, "content")
    if is_text(content):
        return [content]
    return [member(block, "text") for block in items(content) if _is_text_block(block)]


def _is_text_block(block: dict[str, Any]) -> bool:
    return plain(member(block, "type")) == "text"


def render(prompt: Any, values: dict[Any, Any], *, partial: bool = False) -> Any:
    """The prompt with the values put in; Missing or TypeError as the contract says."""
    names = find_variables(prompt)
    known = {plain(key): value for key, value in members(values) if is_text(key)}
    missing = [name for name in names if name not in known]
    if any(name in known and not is_text(known[name]) for name in names):
        raise TypeError("a value is no str")
    if missing and not partial:
        raise Missing(missing)
    return _filled(prompt, {name: plain(known[name]) for name in names if name in known})


def _filled(prompt: Any, values: Values) -> Any:
    if is_text(prompt):
        return VARIABLE.sub(lambda found: values.get(found[1], found[0]), plain(prompt))
    if is_list(prompt):
        return [_with(message, "content", values) for message in items(prompt)]
    return _with(_with(prompt, "system", values), "messages", values)


def _with(value: dict[str, Any], name: str, values: Values) -> dict[str, Any]:
    """A copy with one member filled."""
    copy = {plain(key): held for key, held in members(value)}
    held = copy[name]
    if name == "content" and is_list(held):
        copy[name] = [_filled_block(block, values) for block in items(held)]
    else:
        copy[name] = _filled(held, values)
    return copy


def _filled_block(block: dict[str, Any], values: Values) -> dict[str, Any]:
    return _with(block, "text", values) if _is_text_block(block) else block


def round_trip(messages: Any, response: dict[str, Any], system: str | None = None) -> list[Any]:
    """The places where a well-formed response does not render back to its request."""
    if not (is_text(messages) or is_list(messages)):
        raise TypeError("no messages at all")
    expected = normal_form(messages)
    rendered = render(response, response["variable_values"], partial=True)
    differences: list[dict[str, Any]] = []

    def compare(path: str, code: str, expected: Any, got: Any) -> None:
        if expected != got:
            differences.append({"path": path, "code": code, "expected": expected, "got": got})

    compare("system", "text", "" if system is None else plain(system), rendered["system"])
    compare("messages", "count", len(expected), len(rendered["messages"]))
    for index, (want, have) in enumerate(zip(expected, rendered["messages"], strict=False)):
        path = f"messages.{index}"
        compare(f"{path}.role", "role", want["role"], have["role"])
        texts = _texts(have)
        compare(f"{path}.content", "count", len(want["content"]), len(texts))
        for place, (block, text) in enumerate(zip(want["content"], texts, strict=False)):
            compare(f"{path}.content.{place}.text", "text", block["text"], text)
    return differences
