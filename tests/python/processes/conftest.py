"""Programs of their own that tests speak with, line by line."""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pytest
from faults.conftest import authority, lookup_library, no_descriptor_is_left
from faults.tls import Authority

from processes.stages import Stage

__all__ = ["authority", "lookup_library", "no_descriptor_is_left"]

HERE = Path(__file__).resolve().parent
LIMIT = 60.0  # seconds; then all stacks are shown and the test fails
STRICT = ("-X", "dev", "-W", "error")


class Program:
    """A Python of its own that runs ``MODULE.FUNCTION`` of this folder.

    Both sides speak in lines of JSON. It must write nothing else, and nothing to stderr.
    """

    def __init__(
        self,
        name: str,
        orders: dict[str, Any],
        environment: dict[str, str],
        errors: IO[bytes],
        flags: Sequence[str] = STRICT,
    ) -> None:
        module, _, function = name.partition(".")
        command = [sys.executable, *flags, "-m", f"processes.{module}"]
        command += [function, json.dumps(orders)]
        self._errors = errors
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
        self._watch = threading.Timer(LIMIT, self._expire)
        self._watch.start()

    def _expire(self) -> None:
        faulthandler.dump_traceback(self._errors)  # what the test and its servers wait for
        os.killpg(self.process.pid, signal.SIGABRT)  # shows the program's stacks too

    @property
    def errors(self) -> str:
        """What it and its children wrote to stderr so far."""
        self._errors.seek(0)
        return self._errors.read().decode()

    def hear(self) -> Any:
        """What it says next."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"it ended, or hung, without a word:\n{self.errors}"
        return json.loads(line)

    def say(self, words: object = None) -> None:
        """Answer."""
        assert self.process.stdin
        print(json.dumps(words), file=self.process.stdin, flush=True)

    def end(self) -> int:
        """Its exit code, once it has ended without another word."""
        assert self.process.stdin and self.process.stdout
        self.process.stdin.close()
        rest = self.process.stdout.read()
        code = self.process.wait()
        assert (rest, self.errors) == ("", "")
        return code

    def free(self) -> None:
        """End it in any case."""
        self._watch.cancel()
        self._watch.join()
        with self.process:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)  # and whom it left behind
        self._errors.close()


Start = Callable[..., Program]


def make_environment(lookup_library: Path, folder: Path) -> dict[str, str]:
    """What programs see; names under ``example.invalid`` are this machine."""
    for fifo in ("began", "go"):
        os.mkfifo(folder / fifo)
    preload = [os.environ.get("LD_PRELOAD", ""), str(lookup_library)]
    path = [str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    return {
        **os.environ,
        "LD_PRELOAD": ":".join(filter(None, preload)),
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        "LOOKUPS_THAT_HANG": "0",
        "LOOKUP_BEGAN": str(folder / "began"),
        "LOOKUP_GO": str(folder / "go"),
    }


@pytest.fixture
def environment(lookup_library: Path, tmp_path: Path) -> dict[str, str]:
    """The same, for one test."""
    return make_environment(lookup_library, tmp_path)


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts a program: its name, and its orders by keyword."""
    programs: list[Program] = []

    def run(name: str, *, lookup: bool = False, **orders: Any) -> Program:
        if lookup:
            environment["LOOKUPS_THAT_HANG"] = "1"
        errors = open(tmp_path / f"errors-{len(programs)}", "w+b")  # noqa: SIM115 # closed by free
        programs.append(Program(name, {"lookup": lookup, **orders}, environment, errors))
        return programs[-1]

    yield run
    for program in programs:
        program.free()


@pytest.fixture
def default_client(environment: dict[str, str], authority: Authority) -> Callable[[Stage], None]:
    """Return a function that points a program's default client to a stage."""

    def point(stage: Stage) -> None:
        environment["ANTHROPIC_API_KEY"] = "sk-default"
        environment["ANTHROPIC_BASE_URL"] = stage.orders["url"]
        environment["SSL_CERT_FILE"] = stage.orders["ca_file"]

    return point
