"""Pools of processes and threads: each worker with connections of its own, errors come back whole."""

from __future__ import annotations

from typing import Any

import pytest
from faults.tls import Authority

from processes.conftest import Start
from processes.stages import Stage
from processes.test_fork import each_driver

INHERITS = [("fork", True), ("fork", False), ("spawn", False), ("forkserver", False)]
each_method = pytest.mark.parametrize(
    ("method", "inherits"), INHERITS, ids=["fork, inherited", "fork", "spawn", "forkserver"]
)
each_scheme = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


def assert_apart(stage: Stage) -> None:
    """No connection was used by two processes."""
    for marks in stage.marks:
        owners = {mark.split()[0] for mark in marks if mark != "none"}
        assert len(owners - {"first", "last"}) + bool(owners & {"first", "last"}) <= 1


def assert_worked(results: list[Any], count: int) -> None:
    assert [result[0] for result in results] == [f"{n}" for n in range(count)]
    for mark, text, pid, inherited in results:
        assert text == f"{pid} {mark}" and inherited == []


@each_driver
@each_scheme
@each_method
@pytest.mark.fault(
    "Process",
    "multiprocessing by {method}",
    ends="each process has its own answers, over connections of its own",
)
def test_processes(
    method: str, inherits: bool, tls: bool, driver: str, authority: Authority, start: Start
) -> None:
    with Stage(authority, tls=tls) as stage:
        orders = {**stage.orders, "method": method, "inherits": inherits}
        program = start("workers.process", **orders, driver=driver)
        results, last = program.hear()
        for mark, (own, left, code) in zip("ab", (results[:3], results[3:]), strict=True):
            assert own[:2] == [mark, f"{own[2]} {mark}"] and own[3] == []
            assert (left, code) == ({}, 0)
        assert last == "last"
        assert program.end() == 0
        assert_apart(stage)
        assert ["first", "last"] in stage.marks and len(stage.marks) == 3


@each_driver
@each_method
@pytest.mark.parametrize("kind", ["pool", "executor"])
@pytest.mark.fault(
    "Process",
    "pools and executors by {method}",
    ends="each process has its own answers; errors are pickled, a client is refused",
)
def test_pools(
    kind: str, method: str, inherits: bool, driver: str, authority: Authority, start: Start
) -> None:
    """The calls, every class of error, and a client that is sent where it cannot go."""
    with Stage(authority) as stage:
        orders = {**stage.orders, "method": method, "inherits": inherits}
        program = start(f"workers.{kind}", **orders, driver=driver)
        assert_worked(program.hear(), 24)
        assert program.hear() == []
        assert "make one in each process" in program.hear()
        assert program.hear() == "last"
        assert program.end() == 0
        assert_apart(stage)
        assert ["first", "last"] in stage.marks


@each_driver
def test_threads(driver: str, authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        program = start("workers.threads", **stage.orders, driver=driver)
        assert_worked(program.hear(), 64)
        assert program.hear() == []
        assert program.hear() == "late"
        stage.wait_for_held(4)
        stage.release()
        assert program.hear() == [f"late {n}" for n in range(4)]
        assert program.end() == 0
