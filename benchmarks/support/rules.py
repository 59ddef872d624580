"""The rules of promptlathe's validators as others would write them: in plain Python, and with what
pydantic, msgspec and jsonschema can express of the rules for messages, the rest in Python beside it.

Each takes what the library's function takes and raises ValueError for what that refuses.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jsonschema
import msgspec
import pydantic

WHITE = " \t\n\r\v\f"
VARIABLE = re.compile(r"\{\{[ \t]*([A-Za-z_][A-Za-z0-9_]*)[ \t]*\}\}")
MOST_TOKENS = 100_000 - 1


def count_tokens(_text: str) -> int:
    return 90_000


# ---- Plain Python -------------------------------------------------------------------------------


def check_prompt(prompt: str) -> str:
    clean = prompt.rstrip(WHITE)
    text = clean.lstrip(WHITE)
    if text.startswith("Human:") and not clean.startswith("\n\nHuman:"):
        clean = "\n\n" + text
    size = len(clean.encode())  # a lone surrogate is an error
    human, assistant = clean.find("\n\nHuman:"), clean.find("\n\nAssistant:")
    if human < 0 or 0 <= assistant < human:
        raise ValueError("the first turn is not Human's")
    if assistant < 0 or clean.rfind("\n\nHuman:") > clean.rfind("\n\nAssistant:"):
        raise ValueError("the last turn is not Assistant's")
    if size >= MOST_TOKENS and count_tokens(clean) >= MOST_TOKENS:
        raise ValueError("too many tokens")
    return clean


def _check_order(roles: list[str]) -> None:
    if "user" not in roles or "assistant" in roles[:-1]:
        raise ValueError("not user messages and then at most one assistant message")


def _check_texts(texts: list[str]) -> None:
    for text in texts:
        text.encode()  # a lone surrogate is an error


def _normal(role: str, texts: list[str]) -> dict[str, Any]:
    _check_texts(texts)
    return {"role": role, "content": [{"type": "text", "text": text} for text in texts]}


def _check_block(block: Any) -> str:
    if not isinstance(block, dict) or block.get("type") != "text":
        raise ValueError("not a text block")
    if not block.keys() <= {"type", "text"} or not isinstance(block.get("text"), str):
        raise ValueError("a text block has type and text alone")
    text: str = block["text"]
    return text


def _check_message(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or message.keys() != {"role", "content"}:
        raise ValueError("a message has role and content alone")
    role, content = message["role"], message["content"]
    if role not in ("user", "assistant"):
        raise ValueError("a role is user or assistant")
    if isinstance(content, str):
        return _normal(role, [content])
    if not isinstance(content, list) or not content:
        raise ValueError("content is a str or a list of blocks")
    return _normal(role, [_check_block(block) for block in content])


def check_messages(messages: list[Any]) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise ValueError("messages are a list")
    checked = [_check_message(message) for message in messages]
    _check_order([message["role"] for message in checked])
    return checked


def find_variables(prompt: str) -> list[str]:
    return list(dict.fromkeys(VARIABLE.findall(prompt)))


def render(prompt: str, values: dict[str, str]) -> str:
    return VARIABLE.sub(lambda found: values[found[1]], prompt)


def _check_parsed(messages: list[Any]) -> None:
    """What the schemas of pydantic and msgspec cannot say."""
    _check_order([message.role for message in messages])
    for message in messages:
        content = message.content
        _check_texts([content] if isinstance(content, str) else [each.text for each in content])


# ---- pydantic -----------------------------------------------------------------------------------


class PydanticBlock(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    type: Literal["text"]
    text: str


class PydanticMessage(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", strict=True)
    role: Literal["user", "assistant"]
    content: str | Annotated[list[PydanticBlock], pydantic.Field(min_length=1)]


_pydantic = pydantic.TypeAdapter(list[PydanticMessage])


def pydantic_messages(messages: list[Any]) -> list[PydanticMessage]:
    checked = _pydantic.validate_python(messages)
    _check_parsed(checked)
    return checked


# ---- msgspec ------------------------------------------------------------------------------------


class MsgspecBlock(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    text: str


class MsgspecMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: str | Annotated[list[MsgspecBlock], msgspec.Meta(min_length=1)]


def msgspec_messages(messages: list[Any]) -> list[MsgspecMessage]:
    checked = msgspec.convert(messages, list[MsgspecMessage])
    _check_parsed(checked)
    return checked


# ---- jsonschema ---------------------------------------------------------------------------------

_BLOCK = {
    "type": "object",
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
    "required": ["type", "text"],
    "additionalProperties": False,
}
_MESSAGE = {
    "type": "object",
    "properties": {
        "role": {"enum": ["user", "assistant"]},
        "content": {
            "anyOf": [{"type": "string"}, {"type": "array", "minItems": 1, "items": _BLOCK}]
        },
    },
    "required": ["role", "content"],
    "additionalProperties": False,
}
_jsonschema = jsonschema.Draft202012Validator({"type": "array", "items": _MESSAGE})


def jsonschema_messages(messages: list[Any]) -> list[dict[str, Any]]:
    error = next(_jsonschema.iter_errors(messages), None)
    if error is not None:
        raise ValueError(error.message)
    _check_order([message["role"] for message in messages])
    checked = []
    for message in messages:
        content = message["content"]
        texts = [content] if isinstance(content, str) else [block["text"] for block in content]
        checked.append(_normal(message["role"], texts))
    return checked


MESSAGES: dict[str, Callable[[list[Any]], Any]] = {
    "plain Python": check_messages,
    "pydantic": pydantic_messages,
    "msgspec": msgspec_messages,
    "jsonschema": jsonschema_messages,
}

REFUSED: list[Any] = [
    [],
    [{"role": "system", "content": "no"}],
    [{"role": "user", "content": []}],
    [{"role": "user", "content": "a", "name": "no"}],
    [{"role": "user", "content": [{"type": "image", "text": "no"}]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "assistant", "content": "first"}, {"role": "user", "content": "last"}],
    [{"role": "user", "content": "\ud800"}],
]
