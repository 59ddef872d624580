"""What gunicorn loads before it forks: an application whose client has been used already."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

from processes.children import Inherited, Subject, descriptors

BEFORE = descriptors()
SUBJECT = Subject(json.loads(os.environ["ORDERS"]))
assert SUBJECT.call("preload") == "preload"
INHERITED = Inherited(BEFORE)
MASTER = os.getpid()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Make a call for the path's name, held when there is a query."""
    mark = f"{os.getpid()} {environ['PATH_INFO'].strip('/')}"
    text = SUBJECT.call(mark, hold=bool(environ["QUERY_STRING"]))
    report = [os.getpid(), text == mark, INHERITED.still_open(), os.getpid() != MASTER]
    start_response("200 OK", [("content-type", "application/json")])
    return [json.dumps(report).encode()]
