"""What the benchmarks run beside promptlathe: programs in C, and an environment with other clients."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

SUPPORT = Path(__file__).resolve().parent
ROOT = SUPPORT.parents[1]
BUILD = ROOT / "build/bench"
PROGRAMS = {
    "loop": (["loop.c"], ["-lcurl"]),
    "server": (["server.c", "http2.c"], ["-lssl", "-lcrypto", "-lnghttp2"]),
}


def make_program(name: str) -> Path:
    """`loop` or `server`, built again when a source is newer."""
    sources, libraries = PROGRAMS[name]
    program, files = BUILD / name, [SUPPORT / source for source in sources]
    newest = max(file.stat().st_mtime for file in [*files, *SUPPORT.glob("*.h")])
    if not program.exists() or program.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        flags = ["-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2"]
        subprocess.run(["cc", *flags, "-o", program, *files, *libraries], check=True)
    return program


def wanted_peers() -> list[str]:
    """The extra `bench` of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted: list[str] = project["project"]["optional-dependencies"]["bench"]
    return wanted


def make_environment() -> Path:
    """The Python of an environment with the extra `bench`, made again when its versions change.

    pycurl is built from its source there, so that it runs on the same libcurl as promptlathe does: its
    wheel brings a newer one, as promptlathe's own does.
    """
    wanted = wanted_peers()
    folder = BUILD / "venv"
    stamp, python = folder / "bench.stamp", folder / "bin/python"
    key = "\n".join([sys.version, str(folder), *wanted])
    if not stamp.exists() or stamp.read_text() != key:
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        pip = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "--no-binary", "pycurl", *wanted], check=True)
        stamp.write_text(key)
    return python
