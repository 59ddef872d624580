"""Forks of a process whose client is in any state.

The child's calls on the inherited client go over connections of its own; the parent's calls get
their own answers over theirs, which the server sees whole and used by the parent alone.
"""

from __future__ import annotations

import os
import signal
from itertools import chain
from typing import Any

import pytest
from faults.raw_server import PATIENCE
from faults.tls import Authority

from processes.conftest import Program, Start
from processes.stages import PLACES, InBackOff, OverH2, Stage

DRIVERS = ["sync", "async", "map"]
CALLING = ["sync", "map"]  # whose caller itself does the work
WAYS = {"os._exit": 3, "sys.exit": 3, "exception": 1}
ENGINE = {"engine": 1, "socket": 1}
ORPHANS = {
    "sync": "ClientClosedError: the call was begun before a fork",
    "map": "ClientClosedError: the map was begun before a fork",
}

each_driver = pytest.mark.parametrize("driver", DRIVERS)
# Maps side by side have connections of their own each: their requests do not meet on one.
APART = ("eight calls over HTTP/2", "map")
each_place = pytest.mark.parametrize(
    ("place", "driver"), [(p, d) for d in DRIVERS for p in PLACES if (p, d) != APART]
)
each_caller = pytest.mark.parametrize("driver", CALLING)


def enter(program: Program, stage: Stage) -> None:
    assert program.hear() == "entered"
    stage.reached()
    program.say()


def assert_child(report: dict[str, Any], mark: str = "child") -> None:
    """It used the client as if it were its own, and let go of the parent's."""
    assert report["answer"] == report["again"] == mark
    assert report["inherited"] == []
    assert report["kinds"] == ENGINE
    assert report["left"] == {}


@each_place
@pytest.mark.fault(
    "Process", "fork: {place}", ends="each process has its own answers, over connections of its own"
)
def test_everywhere(place: str, driver: str, authority: Authority, start: Start) -> None:
    fork_at(place, "os._exit", driver, authority, start)


@each_driver
@pytest.mark.parametrize("way", ["sys.exit", "exception"])
@pytest.mark.parametrize("place", ["unused", "idle over TLS", "body over TLS", "eight calls"])
def test_however_the_child_ends(
    place: str, way: str, driver: str, authority: Authority, start: Start
) -> None:
    """The end of an interpreter takes the client away."""
    fork_at(place, way, driver, authority, start)


def fork_at(place: str, way: str, driver: str, authority: Authority, start: Start) -> None:
    with PLACES[place](authority) as stage:
        program = start("children.fork", **stage.orders, way=way, driver=driver)
        enter(program, stage)
        assert program.hear() == "forked"
        if stage.closed_to_children:
            stage.release()
        program.say()
        report, code = program.hear()
        assert_child(report)
        assert code == WAYS[way]
        stage.release()
        program.say()
        end = program.hear()
        assert end["held"] == [f"held {n}" for n in range(stage.calls)]
        assert end["last"] == "last" and end["left"] == []
        assert program.end() == 0
        assert_apart(stage)


def assert_apart(stage: Stage) -> None:
    """Each request came once, those of parent and child over connections of their own."""
    calls = [f"held {n}" for n in range(stage.calls)]
    retried = calls if isinstance(stage, InBackOff) else []
    parent = [*["first"] * stage.used, *calls, *retried, "last"]
    marks = stage.marks
    assert ["child", "child"] in marks
    marks.remove(["child", "child"])
    assert sorted(chain(*marks)) == sorted(parent)
    if len(calls) <= 1 or isinstance(stage, OverH2):
        assert len(marks) == 1 + len(retried), (
            "the parent's connection was of no use after the fork"
        )


@each_driver
@pytest.mark.parametrize("place", ["idle", "wait", "eight calls"])
@pytest.mark.fault(
    "Process",
    "close while a child of a fork lives",
    ends="ClientClosedError; the service sees the connections end",
)
def test_child_that_never_calls(
    place: str, driver: str, authority: Authority, start: Start
) -> None:
    """What it holds of the parent's would keep the service from seeing the parent's end."""
    with PLACES[place](authority) as stage:
        program = start("children.fork_idle_child", **stage.orders, driver=driver)
        enter(program, stage)
        outcomes = program.hear()
        assert outcomes == ["ClientClosedError: the client is closed"] * stage.calls
        stage.release()
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)
        program.say()
        assert program.hear() == [[], {}, "child"]
        assert program.end() == 0


@each_caller
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.fault(
    "Process",
    "fork by a signal handler in a call",
    ends="the call is answered in the parent, ClientClosedError in the child; both go on",
)
def test_in_a_signal_handler(
    way: str, tls: bool, driver: str, authority: Authority, start: Start
) -> None:
    """The call goes on in the parent and ends at once in the child."""
    with Stage(authority, tls=tls) as stage:
        program = start("children.fork_in_signal_handler", **stage.orders, way=way, driver=driver)
        assert program.hear() == "entered"
        stage.reached()
        os.kill(program.process.pid, signal.SIGUSR1)
        stage.server.wait_for_requests(3)  # the child's two
        stage.release()
        outcome, report = program.hear()
        assert (outcome, report["outcome"]) == ("own", ORPHANS[driver])
        assert_child(report)
        program.say()
        assert program.hear() == {"held": [], "last": "last", "left": []}
        assert program.end() == 0
        assert stage.marks == [["own", "last"], ["child", "child"]]


@each_caller
def test_in_a_logging_filter(driver: str, authority: Authority, start: Start) -> None:
    """It is told of a retry while the call is in its back-off."""
    with InBackOff(authority) as stage:
        program = start("children.fork_in_logging", **stage.orders, way="sys.exit", driver=driver)
        outcome, report = program.hear()
        assert (outcome, report["outcome"]) == ("own", ORPHANS[driver])
        assert_child(report)
        program.say()
        assert program.hear() == {"held": [], "last": "last", "left": []}
        assert program.end() == 0
        assert sorted(stage.marks) == [["child", "child"], ["own"], ["own", "last"]]


@each_driver
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.fault(
    "Process",
    "fork in a fork, calls in flight",
    ends="each process has its own answers, over connections of its own",
)
def test_nested(tls: bool, driver: str, authority: Authority, start: Start) -> None:
    """A child forks with a call of its own in flight, and its child does."""
    with Stage(authority, tls=tls) as stage:
        program = start("children.fork_nested", **stage.orders, driver=driver)
        enter(program, stage)
        for depth in (1, 2, 3):
            assert program.hear() == "calling"
            stage.server.wait_for_requests(1 + depth)
            program.say()
        stage.release()
        for _ in range(3):
            assert program.hear() == "release"
            program.say()
        report, code = program.hear()
        assert report == ["depth 1", [], [["depth 2", [], [["depth 3", [], None], 3]], 3]]
        assert code == 3
        program.say()
        assert program.hear() == {"held": ["held 0"], "last": "last", "left": []}
        assert program.end() == 0
        expected = [["held 0", "last"], ["depth 1"], ["depth 2"], ["depth 3"]]
        assert stage.marks == expected


@each_driver
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.fault(
    "Process",
    "fork under 64 threads",
    ends="each process has its own answers, over connections of its own",
)
def test_twenty_under_64_threads(
    tls: bool, driver: str, authority: Authority, start: Start
) -> None:
    """Every call of the parent gets its own answer, every child its own connections."""
    with Stage(authority, tls=tls) as stage:
        orders = {**stage.orders, "threads": 64, "forks": 20}
        program = start("children.fork_under_threads", **orders, driver=driver)
        report = program.hear()
        assert program.end() == 0
        assert report["wrong"] == [] and report["left"] == []
        for number, (child, code) in enumerate(report["children"]):
            assert_child(child, f"child {number}")
            assert code == 3
        children = [f"child {n}" for n in range(20) for _ in range(2)]
        came = sorted(mark for marks in stage.marks for mark in marks)
        assert came == sorted([*chain(*report["marks"]), *children])
        for marks in stage.marks:
            assert len({mark.split()[0] for mark in marks}) == 1


@each_driver
def test_at_the_first_use(driver: str, authority: Authority, start: Start) -> None:
    """The TLS library's own locks are taken while it sets itself up; none may stay so."""
    with Stage(authority, tls=True) as stage:
        program = start("children.fork_at_first_use", **stage.orders, forks=40, driver=driver)
        for (report, child), parent in program.hear():
            assert_child(report)
            assert (child, parent) == (3, 3)
        assert program.end() == 0


@each_caller
def test_while_clients_are_made_and_closed(driver: str, authority: Authority, start: Start) -> None:
    with Stage(authority, tls=True) as stage:
        program = start("children.fork_beside_life", **stage.orders, forks=20, driver=driver)
        report = program.hear()
        assert report["children"] == [["child", 3]] * 20
        assert report["rounds"] and report["left"] == []
        assert program.end() == 0


@each_caller
def test_in_a_collection(driver: str, authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        program = start("children.fork_in_collection", **stage.orders, driver=driver)
        results, left = program.hear()
        assert len(results) == 3 and left == []
        for report, code in results:
            assert_child(report)
            assert code == 3
        assert program.end() == 0


@pytest.mark.parametrize("place", ["wait", "body over TLS", "handshake", "idle over TLS"])
@each_driver
def test_programs_beside_it_inherit_nothing(
    place: str, driver: str, authority: Authority, start: Start
) -> None:
    """Also where descriptors are not closed before exec."""
    with PLACES[place](authority) as stage:
        program = start("children.spawn", **stage.orders, driver=driver)
        enter(program, stage)
        ours, epolls, count = program.hear()
        assert count == 1
        assert len(ours) == 4 and not any(ours.values())
        assert not any(epolls.values())
        stage.release()
        program.say()
        end = program.hear()
        assert end["last"] == "last" and end["left"] == []
        assert program.end() == 0
