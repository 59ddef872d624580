"""The steps of a script: what the simulated service does in place of its normal answer."""

from __future__ import annotations

import gzip
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from promptlathe.server import simulated
from promptlathe.server.handler import Answer
from promptlathe.server.http1 import reason

DRIP_SECONDS = 0.05  # between two pieces, unless the step says otherwise
_ENDS = ("before", "after")


@dataclass(frozen=True, slots=True)
class Step:
    """A checked step; see `promptlathe.mock.Server.script` for the members."""

    status: int | None = None
    headers: tuple[tuple[str, str | None], ...] = ()
    body: bytes | None = None
    content_type: str | None = None
    delay: float = 0.0
    until: threading.Event | None = None
    drip: tuple[int, float] | None = None
    drip_head: bool = False
    close: str | None = None
    reset: str | None = None
    raw: bytes | None = None
    truncate: int | None = None

    @property
    def ends(self) -> bool:
        """Whether the connection ends with this step."""
        return bool(self.close or self.reset or self.truncate is not None)

    @property
    def silent(self) -> bool:
        """Whether nothing is answered."""
        return "before" in (self.close, self.reset)


Scripted = Step | Callable[[Any], Any]


def check(steps: Iterable[Any]) -> list[Scripted]:
    """Check the steps of a script; callables are asked when their request has come.

    Raises
    ------
    TypeError, ValueError
        With the number of the step, what is wrong with it and what would be right.
    """
    if isinstance(steps, (Mapping, str, bytes)) or not isinstance(steps, Iterable):
        raise TypeError(f"a script is a list of steps, not {type(steps).__name__}")
    given = list(steps)
    return [s if callable(s) else check_step(s, f"step {n}") for n, s in enumerate(given)]


def check_step(step: Any, where: str) -> Step:
    """Make a `Step` of a dict or of None; `where` begins the message of an error."""
    if step is None:
        return Step()
    if not isinstance(step, Mapping):
        raise TypeError(f"{where}: a step is a dict, None or a callable, not {type(step).__name__}")
    unknown = [key for key in step if key not in _MEMBERS]
    if unknown:
        raise ValueError(
            f"{where}: {unknown[0]!r} is not a member of a step; use {', '.join(_MEMBERS)}"
        )
    given = {key: value for key, value in step.items() if value is not None}
    checked: dict[str, Any] = {}
    for key, value in given.items():
        checked[key] = _MEMBERS[key](value, f"{where}: {key}")
    if "raw" in given and given.keys() & {"status", "headers", "body", "truncate"}:
        raise ValueError(
            f"{where}: raw is the whole answer; give no status, headers, body or truncate"
        )
    _check_end(checked, where)
    if "body" in checked:
        checked["body"], checked["content_type"] = checked["body"]
    return Step(**checked)


def _check_end(checked: dict[str, Any], where: str) -> None:
    """Settle what an end that is only True means: without an answer when the step has none."""
    answers = checked.keys() & {"status", "headers", "body", "raw", "truncate"}
    for key in ("close", "reset"):
        if checked.get(key) == "default":
            checked[key] = "after" if answers else "before"
        if checked.get(key) == "before" and answers:
            raise ValueError(f"{where}: {key} before the answer leaves no room for {min(answers)}")
        if checked.get(key) == "never":
            checked[key] = None
    if checked.get("raw") is not None and "close" not in checked and not checked.get("reset"):
        checked["close"] = "after"  # nobody can tell where raw bytes end


def build(step: Step, normal: Callable[[], Answer], *, number: int) -> Answer:
    """The answer that a step describes: its own parts over the normal answer or an error."""
    answer = _base(step, normal, number)
    body = answer.body if step.body is None else step.body
    changed = {name.lower() for name, _ in step.headers}
    headers = [(name, value) for name, value in answer.headers if name not in changed]
    if step.body is not None and "content-type" not in changed:
        headers = [pair for pair in headers if pair[0] != "content-type"]
        headers.append(("content-type", step.content_type or "application/octet-stream"))
    headers += [(name, value) for name, value in step.headers if value is not None]
    return Answer(step.status or answer.status, headers, body)


def _base(step: Step, normal: Callable[[], Answer], number: int) -> Answer:
    if step.status is not None and step.status >= 400:
        message = f"scripted answer: {step.status} {reason(step.status)}"
        return simulated.refuse(step.status, message, number=number)
    if step.status is not None and step.status >= 300:
        return simulated.empty(step.status, number=number)
    return normal() if step.body is None else simulated.empty(200, number=number)


def compress(answer: Answer) -> Answer:
    """The answer with a gzip body, unless it is empty or encoded already."""
    if not answer.body or any(name.lower() == "content-encoding" for name, _ in answer.headers):
        return answer
    headers = [*answer.headers, ("content-encoding", "gzip"), ("vary", "accept-encoding")]
    return Answer(answer.status, headers, gzip.compress(answer.body, mtime=0))


# ---- The members of a step ----------------------------------------------------------------------


def _status(value: Any, where: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{where} must be an int, not {type(value).__name__}")
    if not 200 <= value <= 999:
        raise ValueError(f"{where} must be 200 to 999, not {value}; use raw for an interim answer")
    return value


def _headers(value: Any, where: str) -> tuple[tuple[str, str | None], ...]:
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    if not isinstance(pairs, (list, tuple)):
        raise TypeError(f"{where} must be a dict or a list of pairs, not {type(value).__name__}")
    return tuple(_header(pair, where) for pair in pairs)


def _header(pair: Any, where: str) -> tuple[str, str | None]:
    if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[0], str):
        raise TypeError(f"{where} must have pairs of a name and a value, not {pair!r}")
    name, value = pair
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise TypeError(
            f"{where}: {name} must be a str, a number or None, not {type(value).__name__}"
        )
    if not name or any(c in name + (value or "") for c in "\r\n\0"):
        raise ValueError(
            f"{where}: {name!r} has CR, LF or NUL, or no name; use raw to send such bytes"
        )
    try:
        (name + (value or "")).encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"{where}: {name!r} has characters beyond Latin-1; use raw") from None
    return name, value


def _body(value: Any, where: str) -> tuple[bytes, str]:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), "application/octet-stream"
    if not isinstance(value, (dict, list, str)):
        raise TypeError(f"{where} must be a dict, list, str or bytes, not {type(value).__name__}")
    try:
        if isinstance(value, str):
            return value.encode("utf-8"), "text/plain; charset=utf-8"
        return json.dumps(value, ensure_ascii=False).encode("utf-8"), "application/json"
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{where} cannot be sent: {error}; use bytes") from None


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{where} must be a number of seconds, not {type(value).__name__}")
    if not (math.isfinite(value) and 0 <= value <= 86_400):
        raise ValueError(f"{where} must be 0 to 86,400 seconds, not {value}")
    return float(value)


def _until(value: Any, where: str) -> threading.Event:
    if not callable(getattr(value, "wait", None)) or not callable(getattr(value, "is_set", None)):
        raise TypeError(f"{where} must be a threading.Event, not {type(value).__name__}")
    event: threading.Event = value
    return event


def _drip(value: Any, where: str) -> tuple[int, float]:
    size, every = (
        value if isinstance(value, (list, tuple)) and len(value) == 2 else (value, DRIP_SECONDS)
    )
    if type(size) is not int:
        raise TypeError(f"{where} must be a number of bytes, or (bytes, seconds), not {value!r}")
    if size < 1:
        raise ValueError(f"{where} must be at least one byte, not {size}")
    return size, _seconds(every, where)


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{where} must be True or False, not {type(value).__name__}")
    return value


def _end(value: Any, where: str) -> str:
    if isinstance(value, bool):
        return "default" if value else "never"
    if value not in _ENDS:
        raise ValueError(f"{where} must be True, False, 'before' or 'after', not {value!r}")
    return str(value)


def _raw(value: Any, where: str) -> bytes:
    if not isinstance(value, (bytes, bytearray, memoryview)):
        raise TypeError(f"{where} must be bytes, not {type(value).__name__}")
    return bytes(value)


def _truncate(value: Any, where: str) -> int:
    if type(value) is not int:
        raise TypeError(f"{where} must be a number of bytes, not {type(value).__name__}")
    if value < 0:
        raise ValueError(f"{where} must be 0 or more bytes, not {value}")
    return value


_MEMBERS: dict[str, Callable[[Any, str], Any]] = {
    "status": _status,
    "headers": _headers,
    "body": _body,
    "delay": _seconds,
    "until": _until,
    "drip": _drip,
    "drip_head": _flag,
    "close": _end,
    "reset": _end,
    "raw": _raw,
    "truncate": _truncate,
}
