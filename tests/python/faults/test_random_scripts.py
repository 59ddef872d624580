"""Random fault scripts, some of those that ``./dev soak`` plays; see random_scripts.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).with_name("random_scripts.py")


def play(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPTS, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,  # it has a watchdog of its own
        check=False,
    )


def test_no_script_hangs_or_loses_anything() -> None:
    played = play("--count", 300, "--seed", 2)
    assert played.returncode == 0, played.stderr + played.stdout
    assert played.stderr == ""
    rows = re.findall(r"^ +(\d+) (.+)$", played.stdout, re.MULTILINE)
    kinds = {name: int(count) for count, name in rows}
    for name in ("dict", "RawResponse", "APIConnectionError", "APITimeoutError", "cancelled"):
        assert kinds[name] > 5, played.stdout
    for name in ("APIResponseValidationError", "InternalServerError", "ClientClosedError"):
        assert kinds[name] > 5, played.stdout


def test_one_script_is_played_again() -> None:
    """The same is drawn, on both sides, and told."""
    told = [play("--only", 7, "--seed", 2) for _ in range(2)]
    assert [each.returncode for each in told] == [0, 0], told
    first = [each.stdout.splitlines()[0] for each in told]
    assert first[0] == first[1] and "timeout" in first[0]
    answers = [set(re.findall(r"call \d+ attempt 1: .*", each.stdout)) for each in told]
    assert answers[0] & answers[1]
