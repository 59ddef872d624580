"""No file descriptors are left, or no memory."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from faults.conftest import Child
from faults.outcome import WAYS
from faults.raw_server import RawServer, serve


@pytest.mark.fault(
    "Process",
    "no file descriptors left",
    ends="an answer over a connection that is there, else MemoryError; later calls are answered",
)
@pytest.mark.parametrize("manner", WAYS)
def test_no_descriptors_are_left(manner: str, child: Child) -> None:
    with RawServer(serve) as server:
        done = child("no_descriptors", server.url, manner)
        assert done.returncode == 0 and not done.stderr, done.stderr
        assert done.stdout.split() == ["fine", *["fine", "MemoryError"] * 2, "fine", "fine"]


@pytest.mark.fault(
    "Process",
    "malloc failing at every Nth point of a call, in libcurl and in the core",
    ends="MemoryError, an error of the call, or an answer; later calls are answered",
)
@pytest.mark.parametrize("whose", ["libcurl_has_no_memory", "we_have_no_memory"])
def test_each_allocation_fails(whose: str, core_build: Path, root: Path) -> None:
    """The core's own test, which has the allocators in its hands."""
    program = core_build / "tests/test_curl_memory"
    done = subprocess.run([program, root / "tests/cases", whose], capture_output=True, text=True)
    assert done.returncode == 0 and "1 passed, 0 failed" in done.stdout, done.stdout + done.stderr
