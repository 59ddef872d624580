"""Ctrl-C in every place where a call may be, in each way to wait for it; the client goes on.

What other threads do on the same client meanwhile: tests/python/faults/test_interrupt.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from faults.tls import Authority

from processes.conftest import Start
from processes.ctrl_c import WAYS, interrupt
from processes.stages import PLACES, BehindGate, Stage

SOON = 1.0  # seconds: what the tests allow; the promise is 0.1

CALLING: dict[str, Callable[[Authority], Stage]] = {
    name: place for name, place in PLACES.items() if name != "unused" and "idle" not in name
}
SEVERAL = [name for name in CALLING if name == "queue" or "eight" in name]


def cases() -> Iterator[tuple[str, str]]:
    for way in WAYS:
        for place in [*CALLING, "closed gate"]:
            if way != "sync" or place not in SEVERAL:  # a thread has one call at a time
                yield place, way


@pytest.mark.fault("Process", "Ctrl-C in {place}", ends="KeyboardInterrupt; the client goes on")
@pytest.mark.parametrize(("place", "way"), cases())
def test_everywhere(place: str, way: str, authority: Authority, start: Start) -> None:
    make = CALLING.get(place, BehindGate)
    with make(authority) as stage:
        program = start("ctrl_c.main", **stage.orders, way=way)
        took = interrupt(program, stage)
        assert program.end() == 0
        assert took < SOON, f"{took:.3f} s from the signal to the exception"
        if place == "closed gate":
            assert stage.marks == [["first", "after"]]
