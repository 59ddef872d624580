"""The tables of the fault rows in docs/: written by a run, and compared with every other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest

from faults.outcome import Outcome

Row = tuple[str, str]  # layer and name
Rows = dict[Row, list[Outcome]]

DOCS = Path(__file__).resolve().parents[3] / "docs"
LAYERS = ["Connecting", "TLS", "HTTP/1.1", "HTTP/2", "Proxy", "Status", "Body", "Input", "Process"]
CALLS = ["fault", "outcome", "attempts", "time", "limit"]
COLUMNS = {"Input": ["fault", "outcome"], "Process": ["fault", "outcome", "tests", "time"]}
COMMAND = "./dev test tests/python -m fault --fault-table docs/faults.md"
HEAD = """\
# What each fault ends in

This table is made by a run of the tests, not by hand: `{command}`.
Each row is a test against a server that misbehaves in just this way; the run that wrote it was on
libcurl {version}. Every other run of these tests on libcurl {minor} compares its outcomes with
these. Other versions name some phases differently over HTTP/2; the tests say where. What is
under Connecting, HTTP/1.1, HTTP/2, Status and Body ends alike for `Client`, `AsyncClient` and
`Client.map`.

What is refused under Input is refused before anything is sent. Under Process, and where Input is
sent, the outcome is what the tests of that row assert, in words; the time is that of the longest
test, with all the programs that it starts.

Clients elsewhere try twice (`max_retries=1`) and have a `timeout` of 5 s, unless the last column names
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
NETWORK_LAYERS = ["Toxics", "Toxics on a kept connection", "Toxics in the handshake"]
NETWORK_LAYERS += ["A proxy that goes down", "Dark routes"]
NETWORK_COMMAND = "sh tests/full/networks.sh --fault-table docs/faults-network.md"
NETWORK_HEAD = """\
# What each fault of a network ends in

This table is made by a run of the tests as [faults.md](faults.md) is: `{command}`, by root.
It has what needs a network of its own. Toxics are those of toxiproxy, up to the server or down to the
client; dark routes lead into another network namespace and are cut, or lose the answers alone.
The run that wrote it was on libcurl {version}; every other one on libcurl {minor} compares its
outcomes with these.
What has more than one test (toxics, a proxy that goes down, dark routes) ends alike for `Client`,
`AsyncClient` and `Client.map`.

Clients try twice and have 5 s unless the last column names the limit that ended the call.
"""


@dataclass(frozen=True)
class Table:
    """A file of docs/: the rows of some layers."""

    name: str
    head: str
    layers: list[str]
    command: str

    @property
    def file(self) -> Path:
        return DOCS / self.name

    @property
    def text(self) -> str:
        return self.file.read_text(encoding="utf-8")


FAULTS = Table("faults.md", HEAD, LAYERS, COMMAND)
NETWORK = Table("faults-network.md", NETWORK_HEAD, NETWORK_LAYERS, NETWORK_COMMAND)
TABLES = [FAULTS, NETWORK]


def row_of(item: pytest.Item) -> Row | None:
    """The row that a test stands for."""
    marker = item.get_closest_marker("fault")
    if marker is None:
        return None
    layer, name = marker.args
    callspec = getattr(item, "callspec", None)
    return layer, name.format(id=callspec.id, **callspec.params) if callspec else name


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"


def _line(layer: str, name: str, found: list[Outcome]) -> str:
    first = found[0]
    cells = {
        "fault": name,
        "outcome": str(first),
        "attempts": str(first.attempts),
        "tests": str(len(found)),
        "time": f"{max(each.took for each in found) if layer == 'Process' else first.took:.2f} s",
        "limit": first.limit,
    }
    escaped = (cells[each].replace("\\", "\\\\") for each in COLUMNS.get(layer, CALLS))
    return _cells(each.replace("|", "\\|") for each in escaped)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def written(rows: Rows, version: str, path: str) -> str:
    """The table of this file's name as Markdown."""
    (table,) = (each for each in TABLES if each.name == Path(path).name)
    parts = [table.head.format(command=table.command, version=version, minor=_minor(version))]
    for layer in table.layers:
        columns = COLUMNS.get(layer, CALLS)
        parts += [f"\n## {layer}\n\n", _cells(columns), _cells("---" for _ in columns)]
        within = [row for row in rows if row[0] == layer]
        if layer == "Process":  # whose tests are in many files
            within.sort()
        parts += [_line(*row, rows[row]) for row in within]
    return "".join(parts)


def read(table: Table) -> dict[Row, tuple[str, str]]:
    """Outcome of each row of the file, and its attempts where it has them."""
    found, layer = {}, ""
    for line in table.text.splitlines():
        if line.startswith("## "):
            layer = line[3:]
        elif line.startswith("| ") and not line.startswith(("| fault |", "| --- |")):
            text = line[2:-2].replace("\\|", "\0").replace("\\\\", "\\")
            name, outcome, *rest = [cell.replace("\0", "|") for cell in text.split(" | ")]
            found[layer, name] = outcome, "0" if layer in COLUMNS else rest[0]
    return found


def late_rows() -> set[Row]:
    """Those that end because their time is over."""
    rows = read(FAULTS).items()
    return {row for row, (outcome, _) in rows if outcome.startswith("APITimeoutError")}


def same(row: Row, one: Outcome, other: Outcome) -> None:
    """Fail unless a row ends alike in every test that stands for it."""
    ends = [(str(each), each.attempts, each.limit) for each in (one, other)]
    assert ends[0] == ends[1], f"{row} ends in {ends[0]} and in {ends[1]}"


def compare(row: Row, first: Outcome, version: Callable[[], str]) -> None:
    """Fail unless the file has the row, with this outcome if it was written on this libcurl."""
    (table,) = (each for each in TABLES if row[0] in each.layers)
    rows = read(table)
    again = f"write the table again: {table.command}"
    assert row in rows, f"{table.name} has no row {row}; {again}"
    if f"on libcurl {_minor(version())} " in table.text:
        assert rows[row] == (str(first), str(first.attempts)), f"{row} differs; {again}"


def add_times(path: Path, rows: Rows) -> None:
    """Add a line of JSON for each row that a limit ended."""
    with path.open("a", encoding="utf-8") as file:
        for (layer, name), found in rows.items():
            for each in found:
                if each.limit:
                    print(json.dumps([layer, name, each.limit, each.late]), file=file)
