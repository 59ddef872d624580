"""What the client logs, to the logger ``promptlathe``.

Imported at a call when the program has imported `logging`. The key is never logged, bodies only
when the client was made with ``log_bodies=True``.
"""

import logging
from collections.abc import Callable

_logger = logging.getLogger("promptlathe")
_logger.addHandler(logging.NullHandler())  # else warnings go to stderr where nobody set up logging


def _reason(status: int | None, phase: str, curl_code: int | None) -> str:
    """Say what ended an attempt."""
    if status:
        return f"status {status}"
    where = f"no answer in phase {phase}" if phase else "no answer"
    return f"{where} (curl {curl_code})" if curl_code else where


def attempt(
    verb: str,
    number: int,
    status: int | None,
    elapsed: float,
    phase: str,
    curl_code: int | None,
    request_id: str,
) -> None:
    """Log the end of an attempt, at DEBUG."""
    _logger.debug(
        "%s: attempt %d: %s after %.3f s, request id %s",
        verb,
        number,
        _reason(status, phase, curl_code),
        elapsed,
        request_id or None,
    )


def retry(
    verb: str,
    number: int,
    status: int | None,
    delay: float,
    phase: str,
    curl_code: int | None,
    request_id: str,
) -> None:
    """Log that an attempt will be repeated, at WARNING; `delay` in seconds."""
    _logger.warning(
        "%s: attempt %d failed (%s); trying again in %.3f s, request id %s",
        verb,
        number,
        _reason(status, phase, curl_code),
        delay,
        request_id or None,
    )


def body(verb: str, what: str, text: str) -> None:
    """Log the body of a request or of an answer, at DEBUG."""
    _logger.debug("%s: %s body: %s", verb, what, text)


def call(
    verb: str,
    exception: str,
    status: int | None,
    attempts: int,
    elapsed: float,
    request_id: str | None,
) -> None:
    """Log the end of a call, at INFO; `exception` is the name of what it raises, or empty."""
    _logger.info(
        "%s: %s, status %s, %d attempt%s, %.3f s, request id %s",
        verb,
        exception or "ok",
        status,
        attempts,
        "" if attempts == 1 else "s",
        elapsed,
        request_id,
    )


_Listeners = tuple[Callable[..., None], ...]  # the core knows them by their places
_AT_WARNING: _Listeners = (retry,)
_AT_INFO: _Listeners = (*_AT_WARNING, call)
_AT_DEBUG: _Listeners = (*_AT_INFO, attempt, body)


def heard() -> _Listeners:
    """Return those of the functions above whose records the logger would take now."""
    if not _logger.isEnabledFor(logging.INFO):
        return _AT_WARNING
    return _AT_DEBUG if _logger.isEnabledFor(logging.DEBUG) else _AT_INFO
