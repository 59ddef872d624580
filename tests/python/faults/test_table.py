"""The tables name the rows that there are, and no others; each row's own test compares more."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults import table


def rows_of(root: Path, *args: str) -> set[str]:
    """What a run with these arguments would collect, also when this run collects less."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--fault-rows"]
    path = [str(root / "tests/python"), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [*command, "--collect-only", "-m", "fault", *args],
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return {line for line in done.stdout.splitlines() if line.startswith("row: ")}


def assert_named(rows: set[str], file: table.Table) -> None:
    assert rows == {f"row: {layer} | {name}" for layer, name in table.read(file)}
    assert {row.split(" | ")[0].removeprefix("row: ") for row in rows} == set(file.layers)


def test_table_has_just_these_rows(root: Path, pytestconfig: pytest.Config) -> None:
    """Files that this run is told to ignore, as their tools cannot be had, can't be collected."""
    ignored = [f"--ignore={file}" for file in pytestconfig.getoption("ignore") or []]
    assert_named(rows_of(root, *ignored, "tests/python"), table.FAULTS)


def test_table_of_the_networks_has_just_these_rows(root: Path) -> None:
    """Those tests themselves need root."""
    plugins = ["-p", "faults.rows", "-p", "faults.conftest"]
    assert_named(rows_of(root, *plugins, "tests/full/networks"), table.NETWORK)
