"""Counts user instructions with valgrind's callgrind: of a whole program, or of each of its rounds."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

PATIENCE = 600  # seconds for one program; valgrind takes fifty times as long as the processor
KEPT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # of the environment: what finds the programs
FIXED = {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}


class Place(NamedTuple):
    """Where instructions are executed; what debug information does not tell is "???"."""

    library: str
    source: str


def read_profile(lines: Iterable[str]) -> Counter[Place]:
    """Instructions by place, of callgrind's output without compressed names and positions."""
    seen: Counter[Place] = Counter()
    library = source = "???"
    inclusive = False
    for line in lines:
        key, _, value = line.rstrip("\n").partition("=")
        if key == "ob":
            library = value
        elif key in ("fl", "fi", "fe"):
            source = value
        elif key == "calls":
            inclusive = True  # what the callee took, on the next line, is counted there
        elif line[:1].isdigit():
            if not inclusive:
                seen[Place(library, source)] += int(line.split()[1])
            inclusive = False
    return seen


def count(command: Sequence[str | Path], rounds: int) -> list[Counter[Place]]:
    """Run a program that calls getrusage before, between and after its rounds; what each has counted.

    The environment is always the same, and what a round counts depends on no clock.
    """
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "out")
        options = ["--dump-before=getrusage", "--compress-strings=no", "--compress-pos=no"]
        options += [f"--callgrind-out-file={output}"]
        environment = FIXED | {name: os.environ[name] for name in KEPT if name in os.environ}
        done = subprocess.run(
            ["valgrind", "--quiet", "--tool=callgrind", *options, *command],
            env=environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed under valgrind:\n{done.stdout}{done.stderr}")
        dumps = len(list(Path(folder).glob("out.*")))
        if dumps != rounds + 1:
            raise RuntimeError(f"{command[0]} called getrusage {dumps} times, not {rounds + 1}")
        # The first holds what came before the first round.
        parts = [Path(f"{output}.{number}") for number in range(2, rounds + 2)]
        return [read_profile(part.read_text().splitlines()) for part in parts]
