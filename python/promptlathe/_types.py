"""The shapes of arguments and results, for type checkers; at run time they are plain dicts."""

import os
from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict

from ._core import Timeout

__all__ = [
    "ConvertedPrompt",
    "Difference",
    "GenerateRequest",
    "ImproveRequest",
    "Message",
    "NormalizedMessage",
    "PromptFault",
    "PromptResponse",
    "RateLimit",
    "RequestFault",
    "TemplatizeRequest",
    "TemplatizeResponse",
    "TextBlock",
    "Times",
]


class TextBlock(TypedDict):
    """One block of a message's content."""

    type: Literal["text"]
    text: str


class Message(TypedDict):
    """One message, as input or in a response."""

    role: Literal["user", "assistant"]
    content: str | list[TextBlock]


class NormalizedMessage(TypedDict):
    """One message of `validate_messages`: content is always a list of text blocks."""

    role: Literal["user", "assistant"]
    content: list[TextBlock]


class PromptResponse(TypedDict):
    """What generate and improve answer. Further members are passed on as the service sent them."""

    messages: list[Message]
    system: str
    usage: Any


class TemplatizeResponse(PromptResponse):
    """What templatize answers; ``variable_values`` maps each name to the text it replaced."""

    variable_values: dict[str, str]


class ConvertedPrompt(TypedDict):
    """What `convert_completion_prompt` gives."""

    system: str
    messages: list[NormalizedMessage]


class RequestFault(TypedDict):
    """One fault of `InvalidRequestError.errors`; the path is as the service writes it."""

    path: str
    code: str
    message: str


class PromptFault(TypedDict):
    """One fault of `InvalidPromptError.errors`; the offset counts code points from 0."""

    code: str
    message: str
    offset: int | None


class Difference(TypedDict):
    """One place where `check_round_trip` found a response to differ from its request.

    ``expected`` and ``got`` are texts or roles; for the code ``count`` they are numbers.
    """

    path: str
    code: Literal["text", "role", "count"]
    expected: Any
    got: Any


class RateLimit(TypedDict):
    """One kind of `Client.rate_limits`; the reset is as the service wrote it."""

    limit: int | None
    remaining: int | None
    reset: str | None


class Times(TypedDict, total=False):
    """Seconds from an attempt's start to the end of each phase; None where it was not reached."""

    resolve: float | None
    connect: float | None
    tls: float | None
    send: float | None
    wait: float | None
    total: float | None


class _CallOptions(TypedDict):
    timeout: NotRequired[float | Timeout | None]
    max_retries: NotRequired[int]
    betas: NotRequired[list[str] | tuple[str, ...]]
    extra_headers: NotRequired[dict[str, str] | None]
    max_tokens: NotRequired[int]
    effort: NotRequired[Literal["fast", "thorough"]]
    on_variable_change: NotRequired[Literal["raise", "keep_original", "warn"]]
    instructions: NotRequired[str | os.PathLike[str] | None]


class GenerateRequest(_CallOptions):
    """One request of `Client.map`: the arguments of `generate` by name."""

    verb: Literal["generate"]
    task: str
    target_model: NotRequired[str | None]


class ImproveRequest(_CallOptions):
    """One request of `Client.map`: the arguments of `improve` by name."""

    verb: Literal["improve"]
    messages: str | Sequence[Message | NormalizedMessage | dict[str, Any]]
    feedback: NotRequired[str | None]
    system: NotRequired[str | None]
    target_model: NotRequired[str | None]


class TemplatizeRequest(_CallOptions):
    """One request of `Client.map`: the arguments of `templatize` by name."""

    verb: Literal["templatize"]
    messages: str | Sequence[Message | NormalizedMessage | dict[str, Any]]
    system: NotRequired[str | None]
