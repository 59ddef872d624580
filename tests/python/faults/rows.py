"""A plugin of pytest: tests that are rows of a fault table, whose outcomes a run can write down."""

from __future__ import annotations

import functools
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from faults import outcome, table
from faults.outcome import Outcome, client_for
from faults.raw_server import RawServer, serve

FAULTS = pytest.StashKey[table.Rows]()
PASSED = pytest.StashKey[bool]()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-table", metavar="FILE", help="write a table of the fault rows")
    group.addoption("--fault-rows", action="store_true", help="print the rows, one in a line")
    group.addoption("--fault-late", action="store_true", help="only rows that a limit ends")
    group.addoption("--fault-times", metavar="FILE", help="add the lateness of each row to a file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "fault(layer, name, ends=None): a row of a fault table; the name may hold {parameters} and"
        " {id}; what it ends in is that of the test's calls, unless the test says what it asserts",
    )
    config.stash[FAULTS] = {}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--fault-rows", False):
        rows = dict.fromkeys(filter(None, map(table.row_of, items)))
        print("", *(f"row: {layer} | {name}" for layer, name in rows), sep="\n")
    if config.getoption("--fault-late", False):
        late = table.late_rows()
        items[:] = [item for item in items if table.row_of(item) in late]


def pytest_sessionfinish(session: pytest.Session) -> None:
    rows = session.config.stash[FAULTS]
    if path := session.config.getoption("--fault-table", None):
        Path(path).write_text(table.written(rows, libcurl_version(), path), encoding="utf-8")
    if path := session.config.getoption("--fault-times", None):
        table.add_times(Path(path), rows)


@functools.cache
def libcurl_version() -> str:
    """The version of libcurl, as the client tells it to a service."""
    with RawServer(serve) as server, client_for(server.url) as client:
        client.generate("Say hello")
        agent: str = server.requests[0].headers["user-agent"]
    return agent.partition("libcurl/")[2].split()[0]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if call.when == "call":
        item.stash[PASSED] = report.passed
    return report


@pytest.fixture(autouse=True)
def recorded(request: pytest.FixtureRequest) -> Iterator[None]:
    """Note what a row of a table ended in: alike in all of its tests, and as docs/ says."""
    outcome.seen.clear()
    started = time.monotonic()
    yield
    row = table.row_of(request.node)
    if row is None or not request.node.stash.get(PASSED, False):
        return
    ends = request.node.get_closest_marker("fault").kwargs.get("ends")
    if ends:
        outcome.seen[:] = [Outcome(ends, "", 0, time.monotonic() - started)]
    assert outcome.seen, f"{row}: the test made no call by failure() or success()"
    first = outcome.seen[0]
    found = request.config.stash[FAULTS].setdefault(row, [])
    found.append(first)
    table.same(row, found[0], first)
    if not request.config.getoption("--fault-table", None):
        table.compare(row, first, libcurl_version)
