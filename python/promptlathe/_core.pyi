import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from types import EllipsisType, GenericAlias, TracebackType
from typing import Any, Generic, Literal, Self, TypeVar, final, overload

from typing_extensions import disjoint_base

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
)

__version__: str

_Messages = str | Sequence[Message | NormalizedMessage | dict[str, Any]]
_Response = TypeVar("_Response", PromptResponse, TemplatizeResponse)
_Retries = int | EllipsisType
_Betas = list[str] | tuple[str, ...]
_MaxTokens = int | EllipsisType
_Effort = Literal["fast", "thorough"] | EllipsisType
_OnChange = Literal["raise", "keep_original", "warn"] | EllipsisType
_Instructions = str | os.PathLike[str] | None | EllipsisType
_Request = GenerateRequest | ImproveRequest | TemplatizeRequest | dict[str, Any]
_T = TypeVar("_T")

@final
class Timeout:
    def __new__(cls, total: float | None = 600.0, connect: float | None = 5.0) -> Self: ...
    @property
    def total(self) -> float | None: ...
    @property
    def connect(self) -> float | None: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

_Timeout = float | Timeout | None | EllipsisType

def generate(
    task: str,
    *,
    target_model: str | None = None,
    timeout: _Timeout = ...,
    max_retries: _Retries = ...,
    betas: _Betas = (),
    extra_headers: dict[str, str] | None = None,
    max_tokens: _MaxTokens = ...,
    effort: _Effort = ...,
    on_variable_change: _OnChange = ...,
    instructions: _Instructions = ...,
) -> PromptResponse: ...
def improve(
    messages: _Messages,
    *,
    feedback: str | None = None,
    system: str | None = None,
    target_model: str | None = None,
    timeout: _Timeout = ...,
    max_retries: _Retries = ...,
    betas: _Betas = (),
    extra_headers: dict[str, str] | None = None,
    max_tokens: _MaxTokens = ...,
    effort: _Effort = ...,
    on_variable_change: _OnChange = ...,
    instructions: _Instructions = ...,
) -> PromptResponse: ...
def templatize(
    messages: _Messages,
    *,
    system: str | None = None,
    timeout: _Timeout = ...,
    max_retries: _Retries = ...,
    betas: _Betas = (),
    extra_headers: dict[str, str] | None = None,
    max_tokens: _MaxTokens = ...,
    effort: _Effort = ...,
    on_variable_change: _OnChange = ...,
    instructions: _Instructions = ...,
) -> TemplatizeResponse: ...
def validate_messages(messages: _Messages) -> list[NormalizedMessage]: ...
def validate_completion_prompt(
    prompt: str, *, count_tokens: Callable[[str], int] | None = None
) -> str: ...
def sanitize_completion_prompt(prompt: str) -> tuple[str, list[str]]: ...
def convert_completion_prompt(
    prompt: str, *, count_tokens: Callable[[str], int] | None = None
) -> ConvertedPrompt: ...
def find_variables(
    prompt: _Messages | PromptResponse | ConvertedPrompt | dict[str, Any],
) -> list[str]: ...
@overload
def render(prompt: str, values: dict[str, str], *, partial: bool = False) -> str: ...
@overload
def render(
    prompt: Sequence[Message | NormalizedMessage | dict[str, Any]],
    values: dict[str, str],
    *,
    partial: bool = False,
) -> list[Message]: ...
@overload
def render(prompt: _Response, values: dict[str, str], *, partial: bool = False) -> _Response: ...
@overload
def render(
    prompt: dict[str, Any], values: dict[str, str], *, partial: bool = False
) -> dict[str, Any]: ...
def check_round_trip(
    request_messages: _Messages,
    response: TemplatizeResponse | dict[str, Any],
    *,
    system: str | None = None,
) -> list[Difference]: ...
def takes_prefill(model: str) -> bool: ...
@final
class RawResponse(Generic[_T]):
    def __new__(
        cls,
        data: _T,
        status: int,
        headers: dict[str, str],
        request_id: str | None,
        attempts: int,
        elapsed: float,
        answers: list[dict[str, Any]] | None = None,
        notes: list[dict[str, str]] | None = None,
        instructions: str | None = None,
    ) -> Self: ...
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    @property
    def data(self) -> _T: ...
    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> dict[str, str]: ...
    @property
    def request_id(self) -> str | None: ...
    @property
    def attempts(self) -> int: ...
    @property
    def elapsed(self) -> float: ...
    @property
    def answers(self) -> list[dict[str, Any]] | None: ...
    @property
    def notes(self) -> list[dict[str, str]] | None: ...
    @property
    def instructions(self) -> str | None: ...

@final
class ClientWithRawResponse:
    def generate(
        self,
        task: str,
        *,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[PromptResponse]: ...
    def improve(
        self,
        messages: _Messages,
        *,
        feedback: str | None = None,
        system: str | None = None,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[PromptResponse]: ...
    def templatize(
        self,
        messages: _Messages,
        *,
        system: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> RawResponse[TemplatizeResponse]: ...

@final
class Map(Generic[_T]):
    def __class_getitem__(cls, item: Any, /) -> GenericAlias: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> _T: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@disjoint_base
class Client:
    def __init__(
        self,
        api_key: str | None = None,
        *,
        auth_token: str | None = None,
        base_url: str | None = None,
        timeout: float | Timeout | None = 600,
        max_retries: int = 2,
        betas: _Betas = (),
        default_headers: dict[str, str] | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        allow_http: bool = False,
        max_response_bytes: int = 67108864,
        log_bodies: bool = False,
        model: str | None = None,
        max_tokens: int = 8192,
        effort: Literal["fast", "thorough"] = "fast",
        on_variable_change: Literal["raise", "keep_original", "warn"] = "raise",
        instructions: str | os.PathLike[str] | None = None,
    ) -> None: ...
    def generate(
        self,
        task: str,
        *,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> PromptResponse: ...
    def improve(
        self,
        messages: _Messages,
        *,
        feedback: str | None = None,
        system: str | None = None,
        target_model: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> PromptResponse: ...
    def templatize(
        self,
        messages: _Messages,
        *,
        system: str | None = None,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas = (),
        extra_headers: dict[str, str] | None = None,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> TemplatizeResponse: ...
    @overload
    def map(
        self,
        requests: Iterable[_Request],
        *,
        concurrency: int = 16,
        ordered: Literal[True] = True,
        return_exceptions: Literal[False] = False,
    ) -> Map[PromptResponse]: ...
    @overload
    def map(
        self,
        requests: Iterable[_Request],
        *,
        concurrency: int = 16,
        ordered: Literal[True] = True,
        return_exceptions: Literal[True],
    ) -> Map[PromptResponse | Exception]: ...
    @overload
    def map(
        self,
        requests: Iterable[_Request],
        *,
        concurrency: int = 16,
        ordered: Literal[False],
        return_exceptions: Literal[False] = False,
    ) -> Map[tuple[int, PromptResponse]]: ...
    @overload
    def map(
        self,
        requests: Iterable[_Request],
        *,
        concurrency: int = 16,
        ordered: Literal[False],
        return_exceptions: Literal[True],
    ) -> Map[tuple[int, PromptResponse | Exception]]: ...
    @overload
    def map(
        self,
        requests: Iterable[_Request],
        *,
        concurrency: int = 16,
        ordered: bool = True,
        return_exceptions: bool = False,
    ) -> Map[Any]: ...
    def with_options(
        self,
        *,
        timeout: _Timeout = ...,
        max_retries: _Retries = ...,
        betas: _Betas | EllipsisType = ...,
        default_headers: dict[str, str] | None | EllipsisType = ...,
        model: str | None | EllipsisType = ...,
        max_tokens: _MaxTokens = ...,
        effort: _Effort = ...,
        on_variable_change: _OnChange = ...,
        instructions: _Instructions = ...,
    ) -> Self: ...
    @property
    def with_raw_response(self) -> ClientWithRawResponse: ...
    @property
    def rate_limits(self) -> dict[str, RateLimit]: ...
    @property
    def base_url(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def close(self) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...

@disjoint_base
class Loop:
    def __new__(cls, client: Client, budget: float) -> Self: ...
    def start(
        self, client: Client, verb: int, raw: bool, future: Any, values: tuple[Any, ...], /
    ) -> Pending: ...
    def start_request(
        self, client: Client, future: Any, request: Any, index: int, /
    ) -> Pending: ...
    def drain(self, fired: bool, /) -> None: ...
    def ready(self) -> None: ...
    def due(self) -> float: ...
    def schedule(self, due: float, /) -> None: ...
    def changed(self) -> None: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
    @property
    def closed(self) -> bool: ...
    @property
    def stale(self) -> bool: ...
    @property
    def idle(self) -> bool: ...
    soon: bool

@final
class Pending:
    def __await__(self) -> Generator[Any, None, Any]: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> Any: ...
    def throw(self, /, *exception: Any) -> Any: ...
    def close(self) -> None: ...
    def cancel(self) -> Loop | None: ...

class PromptLatheError(Exception): ...
class ConfigurationError(PromptLatheError, ValueError): ...
class ClientClosedError(PromptLatheError, RuntimeError): ...

class InvalidRequestError(PromptLatheError, ValueError):
    errors: Sequence[RequestFault]
    total: int

class InvalidPromptError(PromptLatheError, ValueError):
    errors: Sequence[PromptFault]
    total: int

class MissingVariableError(PromptLatheError, KeyError):
    names: Sequence[str]

class APIError(PromptLatheError):
    message: str
    attempts: int
    retry_after: float | None

class APIConnectionError(APIError):
    phase: str | None
    host: str | None
    address: str | None
    curl_code: int | None
    curl_message: str | None
    times: Mapping[str, float | None]

class APITimeoutError(APIConnectionError): ...

class APIResponseValidationError(APIError):
    status_code: int
    request_id: str | None
    headers: Mapping[str, str]
    body: Any

class ModelAnswerError(APIError):
    type: str | None
    answer: str | None
    usage: Mapping[str, Any]
    request_id: str | None
    headers: Mapping[str, str]

class VariablesChangedError(ModelAnswerError):
    lost: Sequence[str]
    won: Sequence[str]

class APIStatusError(APIError):
    status_code: int
    type: str | None
    request_id: str | None
    headers: Mapping[str, str]
    location: str | None
    body: Any

class BadRequestError(APIStatusError): ...
class AuthenticationError(APIStatusError): ...
class PermissionDeniedError(APIStatusError): ...
class NotFoundError(APIStatusError): ...
class EndpointRetiredError(NotFoundError): ...
class ConflictError(APIStatusError): ...
class RequestTooLargeError(APIStatusError): ...
class UnprocessableEntityError(APIStatusError): ...
class RateLimitError(APIStatusError): ...
class InternalServerError(APIStatusError): ...
class OverloadedError(InternalServerError): ...
