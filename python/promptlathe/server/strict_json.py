"""Reads a request body as a strict service does: one JSON text in UTF-8, nothing doubtful."""

from __future__ import annotations

import json
import math
import re
from typing import Any

MAX_DEPTH = 200

# Whole strings are matched too, so that brackets inside them are not counted.
_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{}]', re.DOTALL)


class MalformedJSON(ValueError):
    """The body is no JSON that the service takes; the text says why."""


def read(body: bytes) -> Any:
    """Parse a request body.

    Parameters
    ----------
    body
        The bytes as received.

    Returns
    -------
    object
        What `json.loads` makes of them.

    Raises
    ------
    MalformedJSON
        For bytes that are not UTF-8, a byte order mark, a syntax error, NaN, Infinity, a number
        beyond the range of a double, a key given twice, or more than 200 levels.
    """
    text = _decode(body)
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number
        )
    except json.JSONDecodeError as error:
        at = f"line {error.lineno} column {error.colno}"
        raise MalformedJSON(f"the body is not valid JSON: {error.msg} at {at}") from None
    except RecursionError:
        raise MalformedJSON(_too_deep()) from None
    except MalformedJSON:
        raise
    except ValueError:
        raise MalformedJSON("the body has an integer with too many digits") from None
    _check_depth(text)
    return value


def _decode(body: bytes) -> str:
    if not body:
        raise MalformedJSON("the body is empty; send a JSON object")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedJSON(f"the body is not UTF-8: byte {error.start}") from None
    if text.startswith("\ufeff"):
        raise MalformedJSON("the body begins with a byte order mark; send UTF-8 without one")
    return text


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise MalformedJSON(f"the key {json.dumps(twice)} is given twice in one object")
    return result


def _constant(name: str) -> float:
    raise MalformedJSON(f"{name} is no JSON value")


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise MalformedJSON("the body has a number beyond the range of a double")
    return value


def _check_depth(text: str) -> None:
    depth = 0
    for token in _BRACKETS.finditer(text):
        mark = token.group()
        if mark in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedJSON(_too_deep())
        elif mark in "]}":
            depth -= 1


def _too_deep() -> str:
    return f"the body is nested too deeply; at most {MAX_DEPTH} levels"
