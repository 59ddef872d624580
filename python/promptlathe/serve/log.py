"""The log: JSON, one object on each line."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from .record import Record

Write = Callable[[dict[str, Any]], None]


class Lines:
    """Writes entries to a stream, each with its time in front."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, entry: dict[str, Any]) -> None:
        """Write an entry. A reader that has gone is no reason to stop serving."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        try:
            self._stream.write(json.dumps({"time": now, **entry}) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass


def entry_of(record: Record) -> dict[str, Any]:
    """Return the entry for a request that has ended; what is unknown is left out."""
    entry = {
        "request_id": record.request_id,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "seconds": round(record.seconds, 6),
        "upstream_attempts": record.attempts,
        "upstream_request_id": record.upstream_request_id,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "error": record.error,
        "fault": record.fault,
    }
    return {name: value for name, value in entry.items() if value is not None}


class Forward(logging.Handler):
    """Turns records of `logging` into entries: the first line alone, and no traceback.

    What follows, such as asyncio's account of a task, may hold an exception that quotes a request.
    """

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        entry: dict[str, Any] = {"event": "server", "level": record.levelname.lower()}
        entry["message"] = record.getMessage().partition("\n")[0]
        if record.exc_info and record.exc_info[0] is not None:
            entry["fault"] = record.exc_info[0].__name__
        self._write(entry)
