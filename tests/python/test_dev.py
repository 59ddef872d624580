"""The script ``./dev`` on systems that lack things: a PATH with only what a test puts there."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT

BASIC = ("cat", "cksum", "dirname", "env", "find", "id", "mkdir", "rm", "sed", "sh", "sort")
RECORDS = '#!/bin/sh\necho "$(basename "$0") $*" >>"$RECORD"\n'

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class System:
    """A copy of the script with a PATH of its own, and a record of what was asked of it."""

    def __init__(self, scratch: Path) -> None:
        self.project = scratch / "project"
        self.programs = scratch / "bin"
        self.record = scratch / "record"
        for folder in (self.project, self.programs):
            folder.mkdir()
        for name in ("dev", "setup.py", "pyproject.toml"):
            shutil.copy(ROOT / name, self.project)
        self.record.touch()
        for name in (*BASIC, "basename"):
            self.link(name)

    def link(self, name: str) -> None:
        found = shutil.which(name)
        assert found is not None
        (self.programs / name).symlink_to(found)

    def program(self, name: str, text: str) -> None:
        path = self.programs / name
        path.unlink(missing_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        return {"PATH": str(self.programs), "RECORD": str(self.record)}

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["./dev", *arguments],
            cwd=self.project,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def recorded(self) -> list[str]:
        return self.record.read_text(encoding="utf-8").splitlines()


@pytest.fixture
def bare(tmp_path: Path) -> System:
    return System(tmp_path)


def test_help_lists_every_command(bare: System) -> None:
    told = bare.run("help")
    assert told.returncode == 0 and bare.run().stdout == told.stdout
    script = (ROOT / "dev").read_text(encoding="utf-8")
    row = re.search(r"^demo \|(.*)\) \"\$command\"", script, re.MULTILINE)
    assert row is not None
    for command in ["demo", "test", *row[1].replace("|", " ").split()]:
        assert re.search(rf"^  {command}\b", told.stdout, re.MULTILINE), command


def test_an_unknown_command_is_refused(bare: System) -> None:
    told = bare.run("tset")
    assert told.returncode == 1
    assert told.stderr.endswith("dev: there is no command 'tset'\n") and "demo" in told.stderr


def test_without_apt_get_it_names_what_is_missing_and_stops(bare: System) -> None:
    told = bare.run("-y", "demo")
    assert told.returncode == 1
    missing = told.stderr.splitlines()[0]
    for package in ("gcc", "make", "pkg-config", "libcurl4-openssl-dev", "libjansson-dev"):
        assert package in missing.split()
    assert "python3-venv" in missing
    for system in ("Fedora", "Arch", "Homebrew"):
        assert system in told.stderr
    assert not (bare.project / ".venv").exists()


def test_it_says_what_it_will_run_before_it_runs_it(bare: System) -> None:
    bare.program("apt-get", RECORDS + 'case $* in *install*) echo "apt-get speaks" >&2 ;; esac\n')
    bare.program("sudo", RECORDS + '"$@"\n')
    bare.program("id", "#!/bin/sh\necho 1000\n")
    told = bare.run("-y", "demo")
    assert told.returncode == 1  # this apt-get installs nothing, and that is noticed
    announced = told.stderr.index("dev: will run: sudo apt-get update; sudo apt-get install gcc")
    assert announced < told.stderr.index("apt-get speaks")
    assert "dev: still missing: gcc" in told.stderr
    calls = bare.recorded()
    assert calls[0] == "sudo apt-get -q update" and calls[1] == "apt-get -q update"
    install = "apt-get -q -y --no-install-recommends install gcc libc6-dev make"
    assert calls[2].startswith(f"sudo env DEBIAN_FRONTEND=noninteractive {install}")
    assert calls[3].startswith(install)


def test_without_root_and_sudo_it_stops(bare: System) -> None:
    bare.program("apt-get", RECORDS)
    bare.program("id", "#!/bin/sh\necho 1000\n")
    told = bare.run("-y", "demo")
    assert told.returncode == 1 and bare.recorded() == []
    assert "only root can install them: apt-get install gcc" in told.stderr


@pytest.mark.parametrize("answer", ["n\n", "\n"])
def test_on_a_terminal_it_asks_first(bare: System, answer: str) -> None:
    bare.program("apt-get", RECORDS)
    bare.program("id", "#!/bin/sh\necho 0\n")
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode())
        told = subprocess.run(
            ["./dev", "demo"],
            cwd=bare.project,
            env=bare.environment(),
            stdin=theirs,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert told.returncode == 1 and bare.recorded() == []
    assert told.stderr.endswith("dev: go on? [y/N] dev: stopped; nothing was installed\n")


def test_an_old_python_is_not_taken(bare: System) -> None:
    bare.program("python3", "#!/bin/sh\nexit 1\n")  # how the probe ends on an older Python
    told = bare.run("-y", "demo")
    assert "python3-venv python3-dev" in told.stderr.splitlines()[0]


def test_a_file_is_built_only_when_the_sources_changed(bare: System) -> None:
    """The stamp's rule, with the script's own functions and a command that records its runs."""
    script = (
        (bare.project / "dev").read_text(encoding="utf-8").partition('\nif [ "${1-}" = -y ]')[0]
    )
    (bare.project / "csrc").mkdir()
    source = bare.project / "csrc/a.c"
    bare.program("built", RECORDS)
    steps = 'once stamps/a "$(sources)" built one\n' * 2
    (bare.project / "steps").write_text(f"{script}\n{steps}", encoding="utf-8")
    for number, text in enumerate(["int a;\n", "int a;\n", "int b;\n"]):
        source.write_text(text, encoding="utf-8")
        subprocess.run(["sh", "./steps"], cwd=bare.project, env=bare.environment(), check=True)
        assert bare.recorded() == ["built one"] * (1 if number < 2 else 2)
