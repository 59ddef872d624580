"""What a caller is told when a call of the upstream failed."""

from __future__ import annotations

import math

import promptlathe
from promptlathe import APIError, APIStatusError
from promptlathe.server import handler
from promptlathe.server.handler import Refusal

_MESSAGE = 2000  # characters of an upstream's message that are passed on
_UNUSABLE = "the upstream's answer cannot be used"
# The model was asked twice already, and that is paid for; clients that try again heed this.
_FINAL = [("x-should-retry", "false")]


def refusal_of(error: Exception, *, own_key: bool) -> Refusal | None:
    """Return the refusal that tells a caller of a client's exception; None for a fault of ours.

    Parameters
    ----------
    error
        What the client raised.
    own_key
        Whether the upstream got the server's key and not the caller's, whose fault a 401 is not.
    """
    if isinstance(error, APIStatusError):
        return _status(error, own_key)
    if isinstance(error, promptlathe.APITimeoutError):
        return Refusal(504, f"the upstream did not answer in time{_phase(error)}")
    if isinstance(error, promptlathe.APIConnectionError):
        return Refusal(502, f"the upstream cannot be reached{_phase(error)}", _retry_after(error))
    if isinstance(error, promptlathe.VariablesChangedError):
        return Refusal(502, "the model's answer would have changed the prompt's variables", _FINAL)
    if isinstance(error, promptlathe.ModelAnswerError):
        return Refusal(502, f"the model's answer cannot be used ({error.type})", _FINAL)
    if isinstance(error, APIError):
        return Refusal(502, _UNUSABLE)
    if isinstance(error, promptlathe.ClientClosedError):
        return Refusal(503, "the server is stopping; try again", [("retry-after", "1")])
    if isinstance(error, promptlathe.InvalidRequestError):
        return Refusal(400, str(error))
    return None


def _status(error: APIStatusError, own_key: bool) -> Refusal:
    """Pass on status, type, message and retry-after."""
    if error.status_code == 401 and own_key:
        return Refusal(502, "the upstream does not accept this server's key")
    if error.status_code == 404:
        return Refusal(
            502, "the upstream knows no such address or model: the server is set up wrong"
        )
    if not 400 <= error.status_code <= 599:
        return Refusal(502, f"the upstream answered with status {error.status_code}")
    documented = error.type in {*handler.ERROR_TYPES.values(), "api_error", "invalid_request_error"}
    return Refusal(
        error.status_code,
        error.message[:_MESSAGE],
        _retry_after(error),
        kind=error.type if documented else None,
    )


def _retry_after(error: APIError) -> list[tuple[str, str]]:
    seconds = error.retry_after
    if seconds is None or not 0 <= seconds < 1e9:
        return []
    return [("retry-after", str(math.ceil(seconds)))]


def _phase(error: promptlathe.APIConnectionError) -> str:
    return f" ({error.phase})" if error.phase else ""
