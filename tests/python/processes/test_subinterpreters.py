"""Several interpreters in one process, and several lives of the package in one interpreter."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from faults.raw_server import PATIENCE
from faults.tls import Authority

from processes.conftest import Start
from processes.stages import REFUSAL, Stage

LEGACY, ISOLATED = {"legacy": True}, {"legacy": False}

each_kind = pytest.mark.parametrize("kind", [LEGACY, ISOLATED], ids=["legacy", "isolated"])
each_scheme = pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])


@each_kind
@each_scheme
@pytest.mark.fault(
    "Process", "calls in four subinterpreters at once", ends="each has its own answers"
)
def test_calls_at_once(
    kind: dict[str, bool], tls: bool, authority: Authority, start: Start
) -> None:
    with Stage(authority, tls=tls) as stage:
        program = start("interpreters.at_once", **stage.orders, **kind, count=4)
        results, left = program.hear()
        assert results == [[f"inner {n}"] * 20 for n in range(4)] + [["main"] * 20]
        assert left == []
        assert program.end() == 0
        assert sorted(stage.marks) == sorted(results)


@each_kind
def test_errors(kind: dict[str, bool], authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        program = start("interpreters.errors", **stage.orders, **kind)
        status, body, pickled, apart, failure = program.hear()
        assert (status, body["error"]["message"]) == (404, "no tea") and REFUSAL
        assert pickled and apart
        assert "InvalidRequestError" in failure and "role" in failure
        assert program.end() == 0


@each_kind
def test_default_clients(
    kind: dict[str, bool], default_client: Any, authority: Authority, start: Start
) -> None:
    with Stage(authority) as stage:
        default_client(stage)
        program = start("interpreters.default_clients", **stage.orders, **kind)
        names = ["main", "inner 0", "inner 1", "inner 2"]
        assert [program.hear() for _ in names] == [[name] * 3 for name in names]
        assert program.hear() == "main"
        assert program.hear() > 0  # the main one's is still open
        assert program.end() == 0
        inner = [[f"inner {n}"] * 3 for n in range(3)]
        assert sorted(stage.marks) == sorted([["main", "main"], *inner])
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)


@each_kind
@each_scheme
@pytest.mark.fault("Process", "end of a subinterpreter that has clients", ends="nothing is left")
def test_end_with_clients(
    kind: dict[str, bool], tls: bool, default_client: Any, authority: Authority, start: Start
) -> None:
    with Stage(authority, tls=tls) as stage:
        default_client(stage)
        program = start("interpreters.ends_with_clients", **stage.orders, **kind)
        assert [program.hear() for _ in range(3)] == [[["kept"] * 5, "none"]] * 3
        assert program.hear() == []
        assert program.end() == 0


@each_kind
def test_end_of_the_program(
    kind: dict[str, bool], default_client: Any, authority: Authority, start: Start
) -> None:
    """The main interpreter ends the others before itself."""
    with Stage(authority, tls=True) as stage:
        default_client(stage)
        program = start("interpreters.left_to_the_end", **stage.orders, **kind)
        assert program.hear() == [["kept"] * 5, "none"]
        assert program.end() == 0
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="such a Python refuses to end an interpreter with threads"
)
@each_kind
@each_scheme
def test_end_in_a_call(
    kind: dict[str, bool], tls: bool, authority: Authority, start: Start
) -> None:
    with Stage(authority, tls=tls) as stage:
        program = start("interpreters.ends_in_a_call", **stage.orders, **kind)
        assert program.hear() == ""
        stage.reached()
        program.say()
        assert program.hear() == "ending"
        stage.release()
        assert program.hear() == "held"
        assert program.hear() == []
        assert program.end() == 0


@each_kind
def test_coming_and_going(kind: dict[str, bool], authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        program = start("interpreters.lives", **stage.orders, **kind)
        told, wrong = program.hear()
        assert told == [[f"inner {n}"] * 20 for n in range(6)] and wrong == []
        assert program.end() == 0


@pytest.mark.fault("Process", "reload", ends="old and new clients go on")
def test_reload(default_client: Any, authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        default_client(stage)
        program = start("interpreters.reload", **stage.orders)
        assert program.hear() == [True, "after", "none"]
        assert program.end() == 0
        assert stage.marks == [["before", "after"], ["none"]]


def test_import_again(default_client: Any, authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        default_client(stage)
        program = start("interpreters.import_again", **stage.orders)
        apart, texts, kinds = program.hear()
        assert apart and texts == ["old", "new", "none"] and kinds == [True] * 3
        program.hear()
        assert program.end() == 0
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)
