"""docs/faults.md names the rows that there are, and no others; each row's own test compares more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from faults import table

HERE = Path(__file__).resolve().parent


def test_table_has_just_these_rows(root: Path) -> None:
    """What a run of all files here would collect, also when this run collects less."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--fault-rows"]
    done = subprocess.run(
        [*command, "--collect-only", HERE],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {line for line in done.stdout.splitlines() if line.startswith("row: ")}
    assert rows == {f"row: {layer} | {name}" for layer, name in table.read()}
    assert {row.split(" | ")[0].removeprefix("row: ") for row in rows} == set(table.LAYERS)
