"""Certificates, the look-up that can be told to hang, children that use it, and the table of rows."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from faults import outcome, table
from faults.outcome import client_for
from faults.raw_server import RawServer, serve
from faults.tls import Authority

HERE = Path(__file__).resolve().parent
FAULTS = pytest.StashKey[dict[table.Row, list[outcome.Outcome]]]()
PASSED = pytest.StashKey[bool]()

Child = Callable[..., subprocess.CompletedProcess[str]]


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("faults")
    group.addoption("--fault-table", metavar="FILE", help="write the table of the fault rows")
    group.addoption("--fault-rows", action="store_true", help="print the rows, one in a line")
    group.addoption("--fault-late", action="store_true", help="only rows that a limit ends")
    group.addoption("--fault-times", metavar="FILE", help="add the lateness of each row to a file")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "fault(layer, name): a row of the fault table; the name may hold {parameters} and {id}",
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
        Path(path).write_text(table.written(rows, libcurl_version()), encoding="utf-8")
    if path := session.config.getoption("--fault-times", None):
        table.add_times(Path(path), rows)


@functools.cache
def libcurl_version() -> str:
    """The version of libcurl, as the client tells it to a service."""
    with RawServer(serve) as server, client_for(server.url) as client:
        client.generate("Say hello")
        agent: str = server.requests[0].headers["user-agent"]
    return agent.partition("libcurl/")[2].split()[0]


@pytest.fixture(scope="session")
def libcurl() -> tuple[int, ...]:
    """The version of libcurl, as numbers."""
    return tuple(map(int, libcurl_version().split("-")[0].split(".")))


@pytest.fixture(params=outcome.WAYS.values(), ids=outcome.WAYS.keys())
def way(request: pytest.FixtureRequest) -> Any:
    """Each manner of calling, as a class to be made with a URL and a client's options."""
    return request.param


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
    """Note what a row of the table ended in: alike in every way of calling, and as docs/ says."""
    outcome.seen.clear()
    yield
    row = table.row_of(request.node)
    if row is None or not request.node.stash.get(PASSED, False):
        return
    assert outcome.seen, f"{row}: the test made no call by failure() or success()"
    first = outcome.seen[0]
    found = request.config.stash[FAULTS].setdefault(row, [])
    found.append(first)
    table.same(row, found[0], first)
    if not request.config.getoption("--fault-table", None):
        table.compare(row, first, libcurl_version)


def descriptors() -> set[tuple[str, str]]:
    """What is open in this process, by number and by what it leads to."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:
            continue  # the directory's own
    return found


@pytest.fixture(autouse=True)
def no_descriptor_is_left() -> Iterator[None]:
    """Whatever went wrong, a closed client leaves nothing open."""
    before = descriptors()
    yield
    assert descriptors() - before == set()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that clients under test are told to trust."""
    return Authority(tmp_path_factory.mktemp("authority"), "Trusted for a test")


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that no client trusts."""
    return Authority(tmp_path_factory.mktemp("stranger"), "Stranger")


def build_library(directory: Path, name: str) -> Path:
    """Build one of the libraries that are loaded before the C library, to stand in its place."""
    path = directory / f"{name}.so"
    flags = ["-shared", "-fPIC", "-O1", "-Wall", "-Werror"]
    subprocess.run(["cc", *flags, HERE / f"{name}.c", "-o", path, "-ldl"], check=True)
    return path


@pytest.fixture(scope="session")
def lookup_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that puts its own getaddrinfo before the C library's."""
    return build_library(tmp_path_factory.mktemp("lookup"), "lookup")


@pytest.fixture
def child(lookup_library: Path, tmp_path: Path) -> Child:
    """Return a function that runs one function of `faults.children` in a Python of its own.

    Names under ``example.invalid`` are this machine there, and the first `hangs` of their look-ups
    hang until the child lets them go.
    """

    def run(name: str, *args: object, hangs: int = 0) -> subprocess.CompletedProcess[str]:
        for fifo in ("began", "go"):
            if not (tmp_path / fifo).exists():
                os.mkfifo(tmp_path / fifo)
        preload = [os.environ.get("LD_PRELOAD", ""), str(lookup_library)]
        path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
        environment = {
            **os.environ,
            "LD_PRELOAD": ":".join(filter(None, preload)),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "LOOKUPS_THAT_HANG": str(hangs),
            "LOOKUP_BEGAN": str(tmp_path / "began"),
            "LOOKUP_GO": str(tmp_path / "go"),
        }
        command = [sys.executable, "-m", "faults.children", name, *map(str, args)]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=30, check=False
        )

    return run
