"""The documented rules for the members of the three request bodies.

The rules for ``messages`` are those of `promptlathe.validate_messages`, which is the C core; only
the flat members beside it are checked here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from promptlathe import InvalidRequestError, validate_messages

Faults = list[tuple[str, str]]
Check = Callable[[str, Any], tuple[Any, Faults]]

MODEL_LENGTH = 256
_FAULTS_SHOWN = 20


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), (list, "a list"), (dict, "an object"))
    return next((words for kind, words in kinds if isinstance(value, kind)), "a number")


def _text(path: str, value: Any) -> tuple[Any, Faults]:
    if not isinstance(value, str):
        return value, [(path, f"must be a string, not {_kind(value)}")]
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        return value, [(path, f"has a lone surrogate at character {error.start}")]
    return value, []


def _text_or_null(path: str, value: Any) -> tuple[Any, Faults]:
    if value is None:
        return None, []
    if not isinstance(value, str):
        return value, [(path, f"must be a string or null, not {_kind(value)}")]
    return _text(path, value)


def _model(path: str, value: Any) -> tuple[Any, Faults]:
    value, faults = _text_or_null(path, value)
    if not faults and value is not None and not 1 <= len(value) <= MODEL_LENGTH:
        faults = [(path, f"must have 1 to {MODEL_LENGTH} characters, not {len(value)}")]
    return value, faults


def _messages(path: str, value: Any) -> tuple[Any, Faults]:
    # In Python a plain string stands for one user message; on the wire it does not.
    if not isinstance(value, list):
        return value, [(path, f"must be a list of messages, not {_kind(value)}")]
    try:
        return validate_messages(value), []
    except InvalidRequestError as error:
        faults = [(fault["path"], fault["message"]) for fault in error.errors]
        faults += [(path, "has further faults")] * (error.total - len(faults))
        return value, faults


MEMBERS: dict[str, dict[str, Check]] = {
    "generate": {"task": _text, "target_model": _model},
    "improve": {
        "messages": _messages,
        "feedback": _text_or_null,
        "system": _text_or_null,
        "target_model": _model,
    },
    "templatize": {"messages": _messages, "system": _text},
}
REQUIRED = {"generate": "task", "improve": "messages", "templatize": "messages"}


def check(verb: str, body: Any) -> tuple[dict[str, Any], Faults]:
    """Check a parsed request body.

    Parameters
    ----------
    verb
        "generate", "improve" or "templatize".
    body
        The parsed JSON.

    Returns
    -------
    tuple
        The members that were given, `messages` in normal form, and every fault as (path, sentence).
        With a fault the members are of no use.
    """
    if not isinstance(body, dict):
        return {}, [("body", f"must be a JSON object, not {_kind(body)}")]
    members = MEMBERS[verb]
    given: dict[str, Any] = {}
    faults: Faults = []
    if REQUIRED[verb] not in body:
        faults.append((REQUIRED[verb], "is required"))
    for name, value in body.items():
        if name in members:
            given[name], found = members[name](name, value)
            faults += found
        else:
            faults.append(
                (_printable(name), f"is not a member of this body; use {_names(members)}")
            )
    return given, faults


def sentence(faults: Faults) -> str:
    """All faults in one line, as the service writes them: ``path: what is wrong; ...``."""
    shown = [f"{path}: {what}" for path, what in faults[:_FAULTS_SHOWN]]
    if len(faults) > _FAULTS_SHOWN:
        shown.append(f"and {len(faults) - _FAULTS_SHOWN} more")
    return "; ".join(shown)


def _names(members: dict[str, Check]) -> str:
    return ", ".join(members)


def _printable(name: str) -> str:
    # The answer must have a UTF-8 form, whatever the key is, and stay readable.
    return name[:100].encode("utf-8", "backslashreplace").decode("utf-8")
