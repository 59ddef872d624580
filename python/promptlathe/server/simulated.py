"""The simulated service: the documented rules, and answers that no model has written.

An answer depends on its request alone, so the same request always gets the same answer.
"""

from __future__ import annotations

from typing import Any

from promptlathe.server import handler
from promptlathe.server.generate import generate
from promptlathe.server.improve import improve
from promptlathe.server.templatize import templatize

# Fixed, so that answers stay the same from run to run: a quota that is never used up, and a reset
# that lies in the past, so that nobody waits for it.
_LIMITS = {"requests": 4000, "input-tokens": 400_000, "output-tokens": 80_000, "tokens": 480_000}
_RESET = "2025-04-02T00:00:00Z"

HEADERS: list[tuple[str, str]] = [("x-promptlathe-simulated", "true")]
for _kind, _limit in _LIMITS.items():
    HEADERS += [
        (f"anthropic-ratelimit-{_kind}-limit", str(_limit)),
        (f"anthropic-ratelimit-{_kind}-remaining", str(_limit - 1)),
        (f"anthropic-ratelimit-{_kind}-reset", _RESET),
    ]


def answer(verb: str, given: dict[str, Any]) -> dict[str, Any]:
    """Make the body of a 200 answer.

    Parameters
    ----------
    verb
        "generate", "improve" or "templatize".
    given
        The checked members of the request; `messages` in normal form.

    Returns
    -------
    dict
        The documented members, with a `usage` that counts a token for every four bytes of text.
    """
    if verb == "generate":
        result = generate(given["task"])
    elif verb == "improve":
        result = improve(given["messages"], given.get("feedback"), given.get("system"))
    else:
        result = templatize(given["messages"], given.get("system", ""))
    # The model's name is no part of the prompt; documented to change nothing.
    counted = [value for name, value in given.items() if name != "target_model"]
    result["usage"] = {"input_tokens": count_tokens(counted), "output_tokens": count_tokens(result)}
    return result


def count_tokens(value: Any) -> int:
    """A token for every four bytes of text in `value`, rounded up. A rule, not a tokenizer."""
    return (_text_bytes(value) + 3) // 4


def _text_bytes(value: Any) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8"))
    if isinstance(value, dict):
        return sum(_text_bytes(v) for k, v in value.items() if k not in ("role", "type"))
    if isinstance(value, list):
        return sum(map(_text_bytes, value))
    return 0


def respond(
    method: str,
    path: str,
    headers: handler.Pairs,
    body: bytes,
    *,
    number: int,
    api_key: str | None = None,
    max_body_bytes: int = handler.MAX_BODY_BYTES,
) -> handler.Answer:
    """Answer one request as the simulated service; `number` makes its request id.

    See `promptlathe.server.handler.handle` for the other parameters.
    """
    plain = handler.handle(
        method,
        path,
        headers,
        body,
        request_id=request_id(number),
        answerer=answer,
        api_key=api_key,
        max_body_bytes=max_body_bytes,
    )
    return mark(plain)


def refuse(status: int, message: str, *, number: int) -> handler.Answer:
    """Make an error of the simulated service."""
    return mark(handler.error(handler.Refusal(status, message), request_id(number)))


def empty(status: int, *, number: int) -> handler.Answer:
    """Make an answer of the simulated service that has no body yet."""
    return mark(handler.Answer(status, [("request-id", request_id(number))], b""))


def request_id(number: int) -> str:
    """The id of the request with this number, in the vendor's manner."""
    return f"req_simulated_{number:08d}"


def mark(plain: handler.Answer) -> handler.Answer:
    """Add what every answer of the simulated service carries."""
    return handler.Answer(plain.status, [*plain.headers, *HEADERS], plain.body)
