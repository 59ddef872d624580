"""What the command says when something failed, and the code that it exits with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from promptlathe import VariablesChangedError

INTERNAL = 1
USAGE = 2
BAD_INPUT = 3
REFUSED = 4
UNREACHABLE = 5
UNUSABLE = 6
INTERRUPTED = 130

# What a user can do about it, where the library's own sentence cannot know that this is a command.
_HINTS = {
    "EndpointRetiredError": "have a model do the work with --model NAME, or give the address of a"
    " service that still serves it with --base-url or ANTHROPIC_BASE_URL; `promptlathe demo` shows"
    " all three calls without one",
    "VariablesChangedError": "try again, or choose with --on-variable-change what is done then",
    "AuthenticationError": "check the key in ANTHROPIC_API_KEY (or the token in"
    " ANTHROPIC_AUTH_TOKEN), and that it belongs to this service",
    "NotFoundError": "check --base-url and ANTHROPIC_BASE_URL, to which /v1/... is added, and the"
    " model's name",
}


# The library's names of options, and the command's.
_OPTIONS = (
    ("allow_http=True", "--allow-http"),
    ("give api_key (or auth_token), or set ", "set "),
    ("base_url", "--base-url"),
    ("instructions:", "--instructions:"),
    ("max_tokens", "--max-tokens"),
)


class CommandError(Exception):
    """A failure of the command itself.

    Parameters
    ----------
    code
        What the command exits with.
    lines
        The message, then one line per fault.
    """

    def __init__(self, code: int, *lines: str) -> None:
        super().__init__(*lines)
        self.code = code
        self.lines = lines


def explain(error: Exception) -> tuple[int, list[str]]:
    """Return the exit code for `error` and the lines that tell the user about it.

    Parameters
    ----------
    error
        What was raised while a command ran.
    """
    import promptlathe

    if isinstance(error, CommandError):
        return error.code, list(error.lines)
    if isinstance(error, (promptlathe.InvalidRequestError, promptlathe.InvalidPromptError)):
        return BAD_INPUT, _faults(error)
    if isinstance(error, promptlathe.MissingVariableError):
        return BAD_INPUT, [_missing(error.names)]
    if isinstance(error, promptlathe.APIError):
        return _api_code(error), list(_api_lines(error))
    if isinstance(error, promptlathe.ConfigurationError):
        return USAGE, [_in_terms_of_the_command(str(error))]
    return INTERNAL, [
        f"internal error: {type(error).__name__}: {error}",
        "this is a fault of promptlathe; `python -X dev -m promptlathe ...` shows where",
    ]


def _in_terms_of_the_command(text: str) -> str:
    for name, option in _OPTIONS:
        text = text.replace(name, option)
    return text


def _faults(error: Exception) -> list[str]:
    faults = error.errors  # type: ignore[attr-defined]
    total = error.total  # type: ignore[attr-defined]
    rules = "one rule" if total == 1 else f"{total:,} rules"
    lines = [f"the input breaks {rules}:", *map(fault_line, faults)]
    if total > len(faults):
        lines.append(f"... and {total - len(faults):,} more")
    if any(fault["code"] == "token_count_unknown" for fault in faults):
        lines.append("count the tokens with your own tokenizer and give their number: --tokens N")
    return lines


def fault_line(fault: Mapping[str, object]) -> str:
    """Return one fault as a line: where, the stable code, and what would be right.

    Parameters
    ----------
    fault
        An item of ``.errors``: with a ``path``, or for a legacy prompt with an ``offset``.
    """
    if "path" in fault:
        place = str(fault["path"])
    elif fault.get("offset") is not None:
        place = f"at character {fault['offset']}"
    else:
        place = "prompt"
    return f"{place}: {fault['code']}: {fault['message']}"


def _missing(names: object) -> str:
    listed = ", ".join(names)  # type: ignore[arg-type]
    return f"no value for {listed}: give each with --values NAME=VALUE, or use --partial"


def _api_code(error: Exception) -> int:
    import promptlathe

    if isinstance(error, promptlathe.APIConnectionError):
        return UNREACHABLE
    if isinstance(error, (promptlathe.APIResponseValidationError, promptlathe.ModelAnswerError)):
        return UNUSABLE
    return REFUSED


def _api_lines(error: Exception) -> Iterator[str]:
    """Yield the library's sentence, then what else is known and not in it."""
    yield (said := str(error))
    request_id = getattr(error, "request_id", None)
    if request_id and request_id not in said:
        yield f"request id: {request_id}"
    wait = getattr(error, "retry_after", None)
    if wait is not None:
        yield f"the service asks to wait {wait:g} s before the next try"
    attempts = getattr(error, "attempts", None) or 1
    if attempts > 1 and "attempts" not in said:
        yield f"{attempts} attempts were made"
    yield from _hints(error)


def _variables(error: VariablesChangedError) -> Iterator[str]:
    for words, names in (("missing", error.lost), ("new", error.won)):
        if names:
            yield f"{words}: {', '.join(names)}"


def _hints(error: Exception) -> Iterator[str]:
    import promptlathe

    if isinstance(error, promptlathe.APIResponseValidationError) and error.body:
        yield f"the answer begins: {str(error.body)[:100]!r}"
    if isinstance(error, promptlathe.VariablesChangedError):
        yield from _variables(error)
    elif isinstance(error, promptlathe.ModelAnswerError) and error.answer:
        yield f"the answer begins: {error.answer[:100]!r}"
    if isinstance(error, promptlathe.ModelAnswerError) and error.type == "cut_off":
        yield "allow more with --max-tokens N"
    # Connecting has a limit of its own, which --timeout does not raise.
    connecting = ("resolve", "connect", "tls")
    if isinstance(error, promptlathe.APITimeoutError) and error.phase not in connecting:
        yield "allow more with --timeout SECONDS"
    names = [kind.__name__ for kind in type(error).__mro__]
    yield from [_HINTS[name] for name in names if name in _HINTS][:1]
