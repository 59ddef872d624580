"""What a result becomes next: the arguments of a Messages call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ._core import InvalidRequestError, render, takes_prefill

if TYPE_CHECKING:
    from ._types import ConvertedPrompt, Message, NormalizedMessage, PromptResponse

    _Blocks = str | list[dict[str, Any]]

_INSTRUCTION = """

Begin your answer with exactly the text between the tags below, and go on from its end.
Leave the tags themselves out.
<{tag}>{prefill}</{tag}>"""


def to_messages_request(
    result: str
    | Sequence[Message | NormalizedMessage | dict[str, Any]]
    | PromptResponse
    | ConvertedPrompt
    | dict[str, Any],
    *,
    model: str,
    values: dict[str, str] | None = None,
    max_tokens: int = 8192,
    partial: bool = False,
) -> dict[str, Any]:
    """Make the keyword arguments of a Messages call that `model` accepts.

    They are those of ``client.messages.create(**arguments)`` of the vendor's SDK, and the members
    of the JSON body of ``POST /v1/messages``.

    Parameters
    ----------
    result : str, list of messages, or dict
        What generate, improve or templatize returned, messages, or a text (one user message). It
        is left as it is.
    model : str
        The model that is going to be called. One that is not known to go on from a final assistant
        message (a prefill) gets it as an instruction at the end of the last user message: its
        answer then *begins* with that text, where after a prefill it only goes on from it.
    values : dict of str to str, optional
        Values for the ``{{VARIABLES}}``, all of them. None takes the ``variable_values`` of a
        templatize result, which gives the very prompt that was templatized.
    max_tokens : int, default 8192
        The most tokens that the answer may have, at least 1.
    partial : bool, default False
        Leave variables without a value as they are.

    Returns
    -------
    dict
        ``model``, ``max_tokens``, ``messages``, and ``system`` when there is one. What the API
        refuses is left out: text blocks, messages and a system of nothing but white space, and
        the white space at the end of a prefill. All else is as it was.

    Raises
    ------
    MissingVariableError
        When a variable has no value; ``names`` holds them all.
    InvalidRequestError
        When `result` is not of the expected form, nothing is left of it, no user message is, or
        `model` is empty or `max_tokens` below 1.
    TypeError
        When an argument is of a wrong type.

    Notes
    -----
    Source of the rules: the vendor's pages "Using the Messages API" (prefill is refused from
    Claude 4.6 on), and the API's errors "text content blocks must contain non-whitespace text" and
    "final assistant content cannot end with trailing whitespace".

    Examples
    --------
    >>> from promptlathe import to_messages_request
    >>> template = {
    ...     "messages": [
    ...         {"role": "user", "content": "Name a river in {{COUNTRY}}."},
    ...         {"role": "assistant", "content": "River: "},
    ...     ],
    ...     "system": "",
    ... }
    >>> request = to_messages_request(
    ...     template, model="claude-haiku-4-5", values={"COUNTRY": "Chile"}, max_tokens=100
    ... )
    >>> request["messages"][1]
    {'role': 'assistant', 'content': 'River:'}
    >>> request = to_messages_request(
    ...     template, model="claude-opus-4-6", values={"COUNTRY": "Chile"}
    ... )
    >>> print(request["messages"][0]["content"])
    Name a river in Chile.
    <BLANKLINE>
    Begin your answer with exactly the text between the tags below, and go on from its end.
    Leave the tags themselves out.
    <answer_start>River: </answer_start>
    """
    _check_options(model, max_tokens)
    filled = _filled(result, values, partial)
    arguments: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
    if (filled.get("system") or "").strip():
        arguments["system"] = filled["system"]
    arguments["messages"] = _accepted(filled["messages"], model)
    return arguments


def _check_options(model: object, max_tokens: object) -> None:
    if not isinstance(model, str):
        raise TypeError(f"model must be a str, not {type(model).__name__}")
    if not isinstance(max_tokens, int) or isinstance(max_tokens, bool):
        raise TypeError(f"max_tokens must be an int, not {type(max_tokens).__name__}")
    if not model:
        raise _fault("model", "bad_length", "must not be empty: give the name of a model")
    if max_tokens < 1:
        raise _fault("max_tokens", "too_small", "must be at least 1")


def _fault(path: str, code: str, message: str) -> InvalidRequestError:
    error = InvalidRequestError(f"{path}: {message}")
    error.errors = [{"path": path, "code": code, "message": message}]
    error.total = 1
    return error


def _filled(result: Any, values: dict[str, str] | None, partial: bool) -> dict[str, Any]:
    """Return a copy of a result as an object of messages, with its variables filled in."""
    if values is None:
        values = dict.get(result, "variable_values") or {} if isinstance(result, dict) else {}
    prompt: Any = render(result, values, partial=partial)
    if isinstance(prompt, str):
        return {"messages": [{"role": "user", "content": prompt}]}
    return prompt if isinstance(prompt, dict) else {"messages": prompt}


def _accepted(messages: list[dict[str, Any]], model: str) -> list[dict[str, Any]]:
    for index, message in enumerate(messages):
        if message.get("role") not in ("user", "assistant"):
            path = f"messages.{index}.role"
            raise _fault(path, "bad_role", "must be user or assistant")
    kept = [message for message in messages if _has_content(message)]
    if not kept:
        raise _fault("messages", "empty", "has no text: nothing is left to send")
    if all(message["role"] == "assistant" for message in kept):
        raise _fault("messages", "no_user_message", "has no user message with a text: add one")
    if kept[-1]["role"] == "assistant":
        return _ended(kept) if takes_prefill(model) else _instructed(kept)
    return kept


def _has_content(message: dict[str, Any]) -> bool:
    """Drop blank text blocks, and tell whether anything remains."""
    if isinstance(message["content"], str):
        return bool(message["content"].strip())
    message["content"] = [
        block for block in message["content"] if block["type"] != "text" or block["text"].strip()
    ]
    return bool(message["content"])


def _ended(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Strip the end of the prefill."""
    prefill = messages[-1]
    if isinstance(prefill["content"], str):
        prefill["content"] = prefill["content"].rstrip()
    elif prefill["content"][-1]["type"] == "text":
        prefill["content"][-1]["text"] = prefill["content"][-1]["text"].rstrip()
    return messages


def _instructed(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the prefill, however many messages it is, as an instruction behind what the user says."""
    end = len(messages)
    while messages[end - 1]["role"] == "assistant":
        end -= 1
    prefill = "".join(_text_of(message["content"]) for message in messages[end:])
    tag = "answer_start"
    while f"{tag}>" in prefill:
        tag += "_"
    user = messages[end - 1]
    text = _INSTRUCTION.format(tag=tag, prefill=prefill)
    if isinstance(user["content"], str):
        user["content"] += text
    else:
        user["content"].append({"type": "text", "text": text})
    return messages[:end]


def _text_of(content: _Blocks) -> str:
    if isinstance(content, str):
        return content
    if any(block["type"] != "text" for block in content):
        message = "this model takes no prefill, and only text can be made an instruction"
        raise _fault("messages", "not_text", message)
    return "".join(block["text"] for block in content)
