"""Ends of a process whose clients are in any state: the right code, in time, without a word."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import Any

import pytest
from canned import Canned
from faults.raw_server import PATIENCE
from faults.tls import Authority

from processes.conftest import Start
from processes.stages import PLACES, Stage
from processes.test_fork import each_driver, each_place, enter

WAYS = {"return": 0, "sys.exit": 3, "os._exit": 3, "exception": 1, "SIGTERM": -signal.SIGTERM}


@each_place
@pytest.mark.parametrize("way", ["return", "sys.exit"])
@pytest.mark.fault(
    "Process",
    "{way}, calls in flight in daemon threads",
    ends="the program's own exit code, at once and without a word",
)
def test_everywhere(place: str, way: str, driver: str, authority: Authority, start: Start) -> None:
    end_at(place, way, driver, authority, start)


@each_driver
@pytest.mark.parametrize("place", ["idle over TLS", "handshake", "eight calls"])
@pytest.mark.parametrize("way", ["os._exit", "exception", "SIGTERM"])
@pytest.mark.fault(
    "Process",
    "{way}, calls in flight in daemon threads",
    ends="the program's own exit code, at once and without a word",
)
def test_however_it_ends(
    place: str, way: str, driver: str, authority: Authority, start: Start
) -> None:
    end_at(place, way, driver, authority, start)


def end_at(place: str, way: str, driver: str, authority: Authority, start: Start) -> None:
    with PLACES[place](authority) as stage:
        program = start("endings.anywhere", **stage.orders, way=way, driver=driver)
        enter(program, stage)
        assert program.end() == WAYS[way]
        stage.release()
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)
        marks = [mark for marks in stage.marks for mark in marks]
        assert len(marks) == len(set(marks)), "a request came twice"


@each_driver
def test_exit_in_a_thread(driver: str, authority: Authority, start: Start) -> None:
    with Stage(authority) as stage:
        program = start("endings.exit_in_a_thread", **stage.orders, driver=driver)
        enter(program, stage)
        assert program.hear() == "after"
        assert program.end() == 0


@each_driver
@pytest.mark.parametrize("place", ["wait", "body over TLS", "eight calls"])
@pytest.mark.fault(
    "Process",
    "end of the main thread, calls in flight in others",
    ends="the calls are answered; exit code 0",
)
def test_threads_end_their_calls_first(
    place: str, driver: str, authority: Authority, start: Start
) -> None:
    with PLACES[place](authority) as stage:
        program = start("endings.waits_for_threads", **stage.orders, driver=driver)
        enter(program, stage)
        stage.release()
        assert program.hear() == [f"held {n}" for n in range(stage.calls)]
        assert program.end() == 0


@each_driver
@pytest.mark.parametrize("place", ["wait", "body over TLS", "eight calls"])
def test_ctrl_c_while_it_waits_for_threads(
    place: str, driver: str, authority: Authority, start: Start
) -> None:
    """Python gives up waiting; the threads are still in their calls when it goes."""
    with PLACES[place](authority) as stage:
        program = start("endings.interrupted", **stage.orders, driver=driver)
        enter(program, stage)
        assert program.hear() == "at exit"
        assert program.end() == 0


@each_driver
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.fault(
    "Process", "calls and close at exit", ends="answers; ClientClosedError after close; exit code 0"
)
def test_handlers_of_the_end(
    tls: bool, driver: str, default_client: Any, authority: Authority, start: Start
) -> None:
    """They may call and close; what a close ends tells its thread so."""
    with Stage(authority, tls=tls) as stage:
        default_client(stage)
        program = start("endings.handlers", **stage.orders, driver=driver)
        enter(program, stage)
        assert program.hear() == ["own", "other", "none"]
        closed = "ClientClosedError: the client is closed"
        assert program.hear() == [closed, [closed]]
        assert program.end() == 0


@each_driver
@pytest.mark.parametrize("place", ["idle", "idle over TLS", "wait", "eight calls"])
def test_clients_in_every_place(
    place: str, driver: str, default_client: Any, authority: Authority, start: Start
) -> None:
    """In a global, a cycle, a thread's own, another module, and the default client."""
    with PLACES[place](authority) as stage:
        default_client(stage)
        program = start("endings.keeping", **stage.orders, driver=driver)
        enter(program, stage)
        assert program.hear() == ["kept 0", "kept 1", "kept 2", "none"]
        program.say()
        assert program.end() == 0
        stage.release()
        for connection in stage.server.connections:
            assert connection.closed.wait(PATIENCE)


@pytest.mark.parametrize("driver", ["sync"])
@pytest.mark.fault("Process", "a call by a destructor at exit", ends="exit code 0, without a word")
def test_destructor_that_calls(driver: str, authority: Authority, start: Start) -> None:
    with PLACES["idle"](authority) as stage:
        program = start("endings.calling_late", **stage.orders, driver=driver)
        enter(program, stage)
        assert program.hear() == "late"
        assert program.end() == 0


BEHIND_LOGGING = """
import logging, os, sys
from promptlathe import Client

class Late:
    def __init__(self):
        self.client, self.write = Client("a-key", base_url=sys.argv[1]), os.write
        self.client.generate("in time")

    def __del__(self):
        try:
            self.client.generate("late")
            self.write(1, b"late")
        except BaseException as error:
            self.write(2, repr(error).encode())

logging.late = Late()
"""


def test_destructor_that_calls_when_logging_is_gone() -> None:
    with Canned() as server:
        command = [sys.executable, "-c", BEHIND_LOGGING, server.url("good-2000")]
        done = subprocess.run(command, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"late", b"")


@each_driver
@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
def test_while_threads_call_without_rest(
    tls: bool, driver: str, authority: Authority, start: Start
) -> None:
    for _ in range(5):
        with Stage(authority, tls=tls) as stage:
            program = start("endings.raced", **stage.orders, threads=16, driver=driver)
            assert program.end() == 0
