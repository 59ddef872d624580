"""The wall clock is set a day on or back, within calls and between them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.conftest import build_library
from faults.outcome import WAYS

HERE = Path(__file__).resolve().parent
DAY = 86400


@pytest.fixture(scope="session")
def clock_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library whose wall clock can be set."""
    return build_library(tmp_path_factory.mktemp("clock"), "clock")


@pytest.mark.parametrize("seconds", [DAY, -DAY], ids=["on", "back"])
@pytest.mark.parametrize("manner", WAYS)
@pytest.mark.fault(
    "Process",
    "the clock set a day on or back, in calls and between",
    ends="deadlines, back-off, hints and pacing do not notice",
)
def test_wall_clock_is_set(manner: str, seconds: int, clock_library: Path) -> None:
    """What `faults.clocks` lists: deadlines, back-off, hints and pacing go by another clock."""
    path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    environment = {
        **os.environ,
        "LD_PRELOAD": ":".join(filter(None, [os.environ.get("LD_PRELOAD"), str(clock_library)])),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "faults.clocks", manner, str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not done.stderr
