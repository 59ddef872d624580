"""A short form of the soak that ``./dev soak`` makes; see tests/soak.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timing
def test_many_calls_leave_nothing(root: Path) -> None:
    soaked = subprocess.run(
        [sys.executable, root / "tests/soak.py", "20000"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert soaked.returncode == 0, soaked.stdout + soaked.stderr
    assert "20000 calls accounted for, 400 of them faults" in soaked.stdout
    assert soaked.stderr == ""
