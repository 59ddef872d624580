"""The shapes of arguments and results, for type checkers; at run time they are plain dicts."""

from typing import Any, Literal, TypedDict

__all__ = [
    "ConvertedPrompt",
    "Difference",
    "Message",
    "NormalizedMessage",
    "PromptFault",
    "PromptResponse",
    "RateLimit",
    "RequestFault",
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
