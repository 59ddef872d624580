"""Random inputs for the rules, each the same for the same seed.

They are built from the pieces that the rules look at, so that most come close to a border: nearly
valid messages, markers with a slip, braces in every order.
"""

from __future__ import annotations

from random import Random
from typing import Any

from hostile import HostileDict, HostileInt, HostileList, HostileObject, HostileStr, HostileTuple

Json = dict[str, Any]

_TEXTS = [
    "", "a", "hi there", "{{A}}", "nul \0 inside", "é", "你好 👋", "\ufeff", "a\r\nb", "\uffff",
]  # fmt: skip
_SURROGATES = ["\ud800", "end \udfff", "\ud83d\udc4b", "a\udc80b"]
_ROLES = ["system", "User", "", "user ", "tool", "assistant\0", "\udcff", "rôle"]
_TYPES = ["image", "tool_use", "", "Text", "text\0", "\ud800", "document"]
_KEYS = [
    "cache_control", "name", "citations", "", "a.b", "id", "x\0y", "clé", "\ud8ff", "\udc00",
    "Role", "text",
]  # fmt: skip
_STRANGE_KEYS = [None, 0, 1.5, True, b"role", ("role",), frozenset(), HostileInt(7)]


def _chance(random: Random, odds: float) -> bool:
    return random.random() < odds


def _cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append({"content": ring})
    return ring


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = [value] if level % 2 else {"content": value}
    return value


# Made once: each is only looked at.
_JUNK = [
    None, True, False, 0, -1, 1.5, float("nan"), float("inf"), 10**30, b"text", bytearray(b"a"),
    "", "text", "user", "\ud800", [], {}, (), set(), object(), str, _cycle(), _deep(500),
    HostileObject(), HostileInt(3), HostileStr("text"), HostileDict({"type": "text"}),
    HostileList(["a"]), HostileTuple(("a",)), {1: 2}, [[]], [None], range(3), iter([1]),
]  # fmt: skip


class Kinds:
    """How one input dresses its values: exact types, or now and then tuples and subclasses."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.odds = random.choice((0.0, 0.0, 0.3))
        self.fault = random.choice((0.0, 0.02, 0.02, 0.1, 0.3))

    def text(self, text: str) -> str:
        return HostileStr(text) if _chance(self.random, self.odds) else text

    def object(self, value: Json) -> Json:
        return HostileDict(value) if _chance(self.random, self.odds) else value

    def list(self, value: list[Any]) -> Any:
        if not _chance(self.random, self.odds):
            return value
        return self.random.choice((tuple, HostileList, HostileTuple))(value)

    def goes_wrong(self) -> bool:
        return _chance(self.random, self.fault)


# ---- Messages ------------------------------------------------------------------------------------


def messages(random: Random) -> Any:
    """Messages that are valid, nearly so, or not at all."""
    kinds = Kinds(random)
    if kinds.goes_wrong():
        return random.choice(_JUNK)
    if _chance(random, 0.05):
        return _text(kinds)
    count = random.choice((1, 1, 1, 2, 2, 3, 5))
    if kinds.goes_wrong():
        count = random.choice((0, 12, 40))
    return kinds.list([_message(kinds, index == count - 1) for index in range(count)])


def _text(kinds: Kinds) -> str:
    pool = _SURROGATES if kinds.goes_wrong() else _TEXTS
    return kinds.text(kinds.random.choice(pool))


def _message(kinds: Kinds, last: bool) -> Any:
    random = kinds.random
    if kinds.goes_wrong():
        return random.choice(_JUNK)
    role = "assistant" if last and _chance(random, 0.3) else "user"
    if kinds.goes_wrong():
        role = random.choice([*_ROLES, *_JUNK, "assistant", "assistant"])
    elif kinds.odds:
        role = kinds.text(role)
    return _members(kinds, {"role": role, "content": _content(kinds)})


def _content(kinds: Kinds) -> Any:
    random = kinds.random
    if kinds.goes_wrong():
        return random.choice(_JUNK)
    if _chance(random, 0.4):
        return _text(kinds)
    return kinds.list([_block(kinds) for _ in range(random.choice((1, 1, 2, 3)))])


def _block(kinds: Kinds) -> Any:
    random = kinds.random
    if kinds.goes_wrong():
        return random.choice(_JUNK)
    kind: Any = "text"
    if kinds.goes_wrong():
        kind = random.choice([*_TYPES, *_JUNK])
    text: Any = random.choice(_JUNK) if kinds.goes_wrong() else _text(kinds)
    return _members(kinds, {"type": kind, "text": text})


def _members(kinds: Kinds, value: Json) -> Json:
    """The members in any order, some missing, some more, some with keys of any kind."""
    random = kinds.random
    pairs: list[tuple[Any, Any]] = [pair for pair in value.items() if not kinds.goes_wrong()]
    while kinds.goes_wrong():
        key = random.choice(_STRANGE_KEYS if _chance(random, 0.2) else _KEYS)
        held = None if _chance(random, 0.3) else random.choice(_JUNK)
        if key not in value:
            pairs.append((key, held))
    if _chance(random, 0.2):
        pairs.append((random.choice(("cache_control", "citations")), None))
    random.shuffle(pairs)
    return kinds.object({_key(kinds, key): held for key, held in pairs})


def _key(kinds: Kinds, key: Any) -> Any:
    return kinds.text(key) if type(key) is str else key


# ---- Legacy prompts ------------------------------------------------------------------------------

_PIECES = [
    "\n\nHuman:", "\n\nAssistant:", "\n\nHuman:", "\n\nAssistant:", "Human:", "Assistant:",
    "\nHuman:", "\nAssistant:", "\r\n\r\nHuman:", "\r\n\r\nAssistant:", "\n\nhuman:",
    "\n\nASSISTANT:", "\n\nHuman", "\n\nAssistant", "\n\n Human:", "\n\nAssistant :",
    "\n \nHuman:", "\n\t\nAssistant:", "\n", "\n\n", "\r\n", " ", "\t", "\v", "\f", "\r", ":",
    " hi", "a", "1.", "é", "👋", "\0", "\xa0", "\x85", "\u2028", "\u3000", "\x1c",
]  # fmt: skip


def prompt(random: Random) -> tuple[str, int | None]:
    """A legacy prompt, and what the caller's counter will say, or None for no counter."""
    pieces = random.choices(_PIECES, k=random.choice((0, 1, 2, 3, 4, 6, 10)))
    if _chance(random, 0.5):
        pieces = ["\n\nHuman: ", *pieces, "\n\nAssistant:"]
    if _chance(random, 0.03):
        pieces.insert(random.randrange(len(pieces) + 1), random.choice(_SURROGATES))
    if _chance(random, 0.01):
        pieces.insert(random.randrange(len(pieces) + 1), _bulk(random, sum(map(_bytes, pieces))))
    text = "".join(pieces)
    tokens = random.choice((None, 0, 99_998, 99_999, 2**40))
    return (HostileStr(text) if _chance(random, 0.05) else text), tokens


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _bulk(random: Random, others: int) -> str:
    """Text that brings the prompt to about the length from which tokens must be counted."""
    filling = random.choice(("x", "é", "👋"))
    room = 99_999 - others + random.randint(-4, 4)
    return filling * (room // _bytes(filling)) + "x" * (room % _bytes(filling))


# ---- Templates -----------------------------------------------------------------------------------

_NAMES = ["A", "b_1", "_", "TARGET_LANGUAGE", "A1"]
_SCRAPS = [
    "{", "{{", "}}", "}", "{{{", "}}}", "A", "b_1", "_", " ", "\t", "\n", "1", "-", "é", "\u0410",
    "{{A}}", "{{ b_1\t}}", "{{_}}", "{{TARGET_LANGUAGE}}", "{{ }}", "{{1A}}", "{{A b}}", "\0",
    "\xa0", "hello", "{{É}}", "{{A}", "{ {A}}", "\u200b",
]  # fmt: skip


def template_text(random: Random) -> str:
    return "".join(random.choices(_SCRAPS, k=random.choice((0, 1, 2, 3, 5, 8, 20))))


def template(random: Random) -> tuple[Any, Json, bool]:
    """A well-formed prompt of one of the three shapes, values for it, and `partial`."""
    kinds = Kinds(random)
    shape = random.choice((_template_string, _template_messages, _template_response))
    names = [name for name in _NAMES if _chance(random, 0.8)]
    values: dict[Any, Any] = {kinds.text(name): kinds.text(template_text(random)) for name in names}
    if _chance(random, 0.1):
        values[random.choice([*_NAMES, "unused", 5, None])] = random.choice((None, 3, b"x", ["a"]))
    return shape(kinds), kinds.object(values), _chance(random, 0.5)


def _template_string(kinds: Kinds) -> str:
    return kinds.text(template_text(kinds.random))


def _template_messages(kinds: Kinds) -> Any:
    count = kinds.random.choice((0, 1, 1, 2, 3))
    return kinds.list([_template_message(kinds) for _ in range(count)])


def _template_message(kinds: Kinds) -> Json:
    random = kinds.random
    content: Any = _template_string(kinds)
    if _chance(random, 0.6):
        count = random.choice((0, 1, 2))
        content = kinds.list([_template_block(kinds) for _ in range(count)])
    role = random.choice(("user", "assistant"))
    return kinds.object(_with_extras(random, {"role": role, "content": content}))


def _template_block(kinds: Kinds) -> Json:
    random = kinds.random
    if _chance(random, 0.1):
        return {"type": "image", "source": "{{A}}"}
    block = {"type": "text", "text": _template_string(kinds)}
    return kinds.object(_with_extras(random, block))


def _template_response(kinds: Kinds) -> Json:
    random = kinds.random
    usage = random.choice(({"input_tokens": 3}, [], [{"input_tokens": 3}]))
    pairs: list[tuple[str, Any]] = [
        ("messages", _template_messages(kinds)),
        ("system", _template_string(kinds)),
        ("usage", usage),
    ]
    if _chance(random, 0.7):
        pairs.append(("variable_values", {"A": "{{A}}", "B": ""}))
    random.shuffle(pairs)
    return kinds.object(_with_extras(random, dict(pairs)))


def _with_extras(random: Random, value: Json) -> Json:
    """Now and then members that nobody documented, which are handed on as they are."""
    if _chance(random, 0.15):
        value["new"] = random.choice((None, 1.5, float("nan"), "{{A}}", {"text": "{{A}}"}, [[]]))
    return value


# ---- Round trips ---------------------------------------------------------------------------------


def round_trip(random: Random) -> tuple[Any, Json, str | None]:
    """A request's messages, an answer of templatize to it, exact or not, and its system."""
    count = random.choice((1, 1, 2, 3))
    request = [_plain_message(random, "user") for _ in range(count)]
    if _chance(random, 0.3):
        request.append(_plain_message(random, "assistant"))
    system = random.choice((None, "", template_text(random)))
    response = _templatized(random, request, system or "")
    if _chance(random, 0.5):
        _distort(random, response)
    if _chance(random, 0.05):
        request = messages(random)
    return request, response, system


def _plain_message(random: Random, role: str) -> Json:
    texts = [template_text(random) for _ in range(random.choice((1, 1, 2, 3)))]
    if len(texts) == 1 and _chance(random, 0.4):
        return {"role": role, "content": texts[0]}
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def _templatized(random: Random, request: list[Json], system: str) -> Json:
    """What a service that keeps the structure might answer: pieces of text become variables."""
    values: dict[str, str] = {}

    def replaced(text: str) -> str:
        start = random.randrange(len(text) + 1)
        end = random.randint(start, len(text))
        name = f"V{len(values)}"
        if _chance(random, 0.3):
            return text
        values[name] = text[start:end]
        return f"{text[:start]}{{{{{name}}}}}{text[end:]}"

    answered = []
    for message in request:
        content = message["content"]
        texts = [content] if type(content) is str else [block["text"] for block in content]
        blocks = [{"type": "text", "text": replaced(text)} for text in texts]
        as_text = len(blocks) == 1 and _chance(random, 0.3)
        answered.append(
            {"role": message["role"], "content": blocks[0]["text"] if as_text else blocks}
        )
    return {
        "messages": answered, "system": replaced(system), "usage": {}, "variable_values": values,
    }  # fmt: skip


def _distort(random: Random, response: Json) -> None:
    """One way in which an answer may fail to give the request back."""
    answered = response["messages"]
    message = random.choice(answered)
    ways = [
        lambda: answered.pop(),
        lambda: answered.append(_plain_message(random, "user")),
        lambda: message.update(role=random.choice(("user", "assistant", "system"))),
        lambda: message.update(content=_plain_message(random, "user")["content"]),
        lambda: message.update(content=[]),
        lambda: response.update(system=template_text(random)),
        lambda: response["variable_values"].update(V0="other", A="b"),
        lambda: response["variable_values"].clear(),
    ]
    random.choice(ways)()
