"""The table of the fault rows, docs/faults.md: written by a run, and compared with every other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.outcome import Outcome

Row = tuple[str, str]  # layer and name
Rows = dict[Row, list[Outcome]]

FILE = Path(__file__).resolve().parents[3] / "docs/faults.md"
LAYERS = ["Connecting", "TLS", "HTTP/1.1", "HTTP/2", "Proxy", "Status", "Body"]
COMMAND = "./dev test tests/python/faults --fault-table docs/faults.md"
HEAD = """\
# What each fault ends in

This table is made by a run of the tests, not by hand: `{command}`.
Each row is a test against a server that misbehaves in just this way; the run that wrote it was on
libcurl {version}. Every other run of these tests on libcurl {minor} compares its outcomes with
these. Other versions name some phases differently over HTTP/2; the tests say where. What is
under Connecting, HTTP/1.1, HTTP/2, Status and Body ends alike for `Client`, `AsyncClient` and
`Client.map`.

Clients here try twice (`max_retries=1`) and have a `timeout` of 5 s, unless the last column names
the limit that ended the call. The time is that of the whole call, back-off between attempts included.
`./dev bench` measures how far beyond its limit each call ends (`benchmarks/fault_times.py`).

What is not as one would expect, and why:

- Over HTTP/2 libcurl 7.88 hands on nothing of an answer before all of its headers are there and well
  formed. So malformed headers fail in the phase wait there, and in read with libcurl 8. What breaks
  the connection before any header (garbage, a wrong frame) is wait with both. All are tried again.
- Some headers are stopped by limits of libcurl or nghttp2, which lie below the client's own, and look
  like any other fault of the connection: `APIConnectionError`, tried again, in place of
  `APIResponseValidationError`, which is not. These are 300 KB of headers and endless ones over
  HTTP/2, a trailer of 300 KB in one line, and endless headers of a proxy.
- A server that sends HTTP/2's control frames without a pause, faster than they can be read, holds a
  call beyond its deadline with libcurl 7.88, which reads on within one step until the flood ends.
  libcurl 8 keeps to the deadline. The rows of frames "without end" are of frames with pauses.
"""


def row_of(item: pytest.Item) -> Row | None:
    """The row that a test stands for."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        return None
    layer, name = marker.args
    callspec = getattr(item, "callspec", None)
    return layer, name.format(id=callspec.id, **callspec.params) if callspec else name


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|")


def _line(name: str, first: Outcome) -> str:
    cells = [name, str(first), str(first.attempts), f"{first.took:.2f} s", first.limit]
    return "| " + " | ".join(map(_cell, cells)) + " |\n"


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def written(rows: Rows, version: str) -> str:
    """The table as Markdown."""
    parts = [HEAD.format(command=COMMAND, version=version, minor=_minor(version))]
    for layer in LAYERS:
        parts.append(f"\n## {layer}\n\n| fault | outcome | attempts | time | limit |\n")
        parts.append("| --- | --- | --- | --- | --- |\n")
        parts += [_line(name, found[0]) for (at, name), found in rows.items() if at == layer]
    return "".join(parts)


def read() -> dict[Row, tuple[str, str]]:
    """Outcome and attempts of each row of the file."""
    found, layer = {}, ""
    for line in FILE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            layer = line[3:]
        elif line.startswith("| ") and not line.startswith(("| fault |", "| --- |")):
            text = line[2:-2].replace("\\|", "\0").replace("\\\\", "\\")
            name, outcome, attempts, *_ = [cell.replace("\0", "|") for cell in text.split(" | ")]
            found[layer, name] = outcome, attempts
    return found


def late_rows() -> set[Row]:
    """Those that end because their time is over."""
    return {row for row, (outcome, _) in read().items() if outcome.startswith("APITimeoutError")}


def same(row: Row, one: Outcome, other: Outcome) -> None:
    """Fail unless a row ends alike in every test that stands for it."""
    ends = [(str(each), each.attempts, each.limit) for each in (one, other)]
    assert ends[0] == ends[1], f"{row} ends in {ends[0]} and in {ends[1]}"


def compare(row: Row, first: Outcome, version: Callable[[], str]) -> None:
    """Fail unless the file has the row, with this outcome if it was written on this libcurl."""
    rows = read()
    again = f"write the table again: {COMMAND}"
    assert row in rows, f"{FILE.name} has no row {row}; {again}"
    if f"on libcurl {_minor(version())} " in FILE.read_text(encoding="utf-8"):
        assert rows[row] == (str(first), str(first.attempts)), f"{row} differs; {again}"


def add_times(path: Path, rows: Rows) -> None:
    """Add a line of JSON for each row that a limit ended."""
    with path.open("a", encoding="utf-8") as file:
        for (layer, name), found in rows.items():
            for each in found:
                if each.limit:
                    print(json.dumps([layer, name, each.limit, each.late]), file=file)
