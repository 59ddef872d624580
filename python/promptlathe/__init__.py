"""Prompt tools over HTTP: generate, improve and templatize prompts.

>>> import promptlathe
>>> promptlathe.find_variables("Translate {{WORD}} to {{LANGUAGE}}")
['WORD', 'LANGUAGE']

The module functions `generate`, `improve` and `templatize` use a client made from the environment
at the first call; `Client` takes options. The rules (`validate_messages` and its kin) need no
service. `promptlathe.mock` is a simulated service for tests.
"""

from ._core import (
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    Client,
    ClientClosedError,
    ClientWithRawResponse,
    ConfigurationError,
    ConflictError,
    EndpointRetiredError,
    InternalServerError,
    InvalidPromptError,
    InvalidRequestError,
    Map,
    MissingVariableError,
    ModelAnswerError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    PromptLatheError,
    RateLimitError,
    RawResponse,
    RequestTooLargeError,
    Timeout,
    UnprocessableEntityError,
    VariablesChangedError,
    __version__,
    check_round_trip,
    convert_completion_prompt,
    find_variables,
    generate,
    improve,
    render,
    sanitize_completion_prompt,
    templatize,
    validate_completion_prompt,
    validate_messages,
)

# What type checkers know without an import of typing, which costs milliseconds.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from . import mock as mock
    from ._diff import Diff, diff
    from ._messages_request import to_messages_request
    from ._types import (
        ConvertedPrompt,
        Difference,
        GenerateRequest,
        ImproveRequest,
        Message,
        NormalizedMessage,
        PromptFault,
        PromptResponse,
        RateLimit,
        RequestFault,
        TemplatizeRequest,
        TemplatizeResponse,
        TextBlock,
        Times,
    )
    from .aio import AsyncClient, AsyncClientWithRawResponse, AsyncMap

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AsyncClient",
    "AsyncClientWithRawResponse",
    "AsyncMap",
    "AuthenticationError",
    "BadRequestError",
    "Client",
    "ClientClosedError",
    "ClientWithRawResponse",
    "ConfigurationError",
    "ConflictError",
    "ConvertedPrompt",
    "Diff",
    "Difference",
    "EndpointRetiredError",
    "GenerateRequest",
    "ImproveRequest",
    "InternalServerError",
    "InvalidPromptError",
    "InvalidRequestError",
    "Map",
    "Message",
    "MissingVariableError",
    "ModelAnswerError",
    "NormalizedMessage",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "PromptFault",
    "PromptLatheError",
    "PromptResponse",
    "RateLimit",
    "RateLimitError",
    "RawResponse",
    "RequestFault",
    "RequestTooLargeError",
    "TemplatizeRequest",
    "TemplatizeResponse",
    "TextBlock",
    "Timeout",
    "Times",
    "UnprocessableEntityError",
    "VariablesChangedError",
    "__version__",
    "check_round_trip",
    "convert_completion_prompt",
    "diff",
    "find_variables",
    "generate",
    "improve",
    "mock",
    "render",
    "sanitize_completion_prompt",
    "templatize",
    "to_messages_request",
    "validate_completion_prompt",
    "validate_messages",
]


if not TYPE_CHECKING:  # for type checkers a name that is not there is an error

    def __getattr__(name: str) -> object:
        """Import when it is asked for what not every program needs: asyncio, types, `mock`, `diff`."""
        if name == "mock":
            from importlib import import_module

            return import_module(f"{__name__}.mock")
        if name in __all__:
            if name.startswith("Async"):
                from . import aio as module
            elif name in ("Diff", "diff"):
                from . import _diff as module
            elif name == "to_messages_request":
                from . import _messages_request as module
            else:
                from . import _types as module

            found = getattr(module, name)
            globals()[name] = found
            return found
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)


def __dir__() -> list[str]:
    """List the lazily imported names too."""
    return sorted({*globals(), *__all__})
