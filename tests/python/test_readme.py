"""What the README shows is run, and what it lists is held against the package."""

from __future__ import annotations

import inspect
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import promptlathe
import pytest
from messages_server import plausible
from promptlathe.mock import Server

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODELS = (ROOT / "docs/models.md").read_text(encoding="utf-8")
LIMIT = 60  # seconds that no block comes near
# Lines that are not run: they build, install or serve without end. Other tests see to them.
NOT_RUN = ("./dev ", "python3 -m venv", "pip install", "apt-get ", "cc ")
NOT_RUN += ("promptlathe mock", "promptlathe serve")
REFUSES = "promptlathe check $'"


class Block(NamedTuple):
    kind: str
    text: str
    output: str | None  # of the block "output" that follows it


def blocks(page: str = README) -> list[Block]:
    found = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    following = [*found[1:], ("", "")]
    return [
        Block(kind, text, after if name == "output" else None)
        for (kind, text), (name, after) in zip(found, following, strict=True)
    ]


def scripts(*, tests: bool) -> list[str]:
    texts = [block.text for block in blocks() if block.kind == "python"]
    return [text for text in texts if ("def test_" in text) is tests]


def commands() -> list[str]:
    lines = [line for block in blocks() if block.kind == "sh" for line in block.text.splitlines()]
    return [line.partition("  #")[0].rstrip() for line in lines]


def environment(server: Server) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "ANTHROPIC" not in name}
    return kept | {
        "PYTHONPATH": str(Path(promptlathe.__file__).parent.parent),
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "any",
    }


def run(server: Server, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment(server) | {"PATH": f"{cwd}:{os.environ['PATH']}"},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
    )


def test_blocks_are_of_known_kinds() -> None:
    assert {block.kind for block in blocks()} == {"python", "sh", "output", "text"}
    assert README.count("```") == 2 * len(blocks())


@pytest.mark.parametrize("text", scripts(tests=False))
def test_python(text: str, tmp_path: Path) -> None:
    (output,) = (block.output for block in blocks() if block.text == text)
    with Server() as server:
        if re.search(
            r"Client\([^)]*\bmodel=", text
        ):  # of these the simulated service knows nothing
            server.script([plausible] * 10)
        done = run(server, sys.executable, "-W", "error", "-c", text, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if output is not None:
        assert done.stdout.endswith(output)


@pytest.mark.parametrize("text", [block.text for block in blocks(MODELS)])
def test_python_of_the_page_on_models(text: str, tmp_path: Path) -> None:
    """Each block against a scripted model, which stands in for the servers that are named."""
    with Server() as server:
        server.script([plausible] * 10)
        text = re.sub(r"http://127\.0\.0\.1:\d+", server.url, text)
        done = run(server, sys.executable, "-W", "error", "-c", text, cwd=tmp_path)
        assert {request.path for request in server.requests} == {"/v1/messages"}
    assert done.returncode == 0, done.stderr


def test_the_page_on_models_names_all_there_is() -> None:
    names = {path.name for path in (ROOT / "csrc/instructions").glob("*.txt")}
    assert set(re.findall(r"`([\w-]+\.txt)`", MODELS)) == names
    source = (ROOT / "csrc/core/spans.c").read_text(encoding="utf-8")
    source += (ROOT / "csrc/core/task.c").read_text(encoding="utf-8")
    codes = set(re.findall(r'note\(\w+, "(\w+)"', source))
    assert len(codes) > 6 and codes == {code for code in codes if f"`{code}`" in MODELS}


@pytest.mark.parametrize("text", scripts(tests=True))
def test_tests(text: str, tmp_path: Path) -> None:
    (tmp_path / "test_readme_block.py").write_text(text, encoding="utf-8")
    plugin = ("-p", "no:promptlathe", "-p", "promptlathe.pytest_plugin")
    with Server() as server:
        done = run(server, sys.executable, "-m", "pytest", "-q", *plugin, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_commands(tmp_path: Path) -> None:
    program = tmp_path / "promptlathe"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m promptlathe "$@"\n')
    program.chmod(stat.S_IRWXU)
    (tmp_path / "old.txt").write_text("\n\nHuman: Concise recipe for mandu\n\nAssistant:")
    lines = [line for line in commands() if not line.startswith(NOT_RUN)]
    assert len(lines) >= 7
    with Server() as server:
        for line in lines:
            done = run(server, "bash", "-o", "pipefail", "-c", line, cwd=tmp_path)
            assert done.returncode == (3 if line.startswith(REFUSES) else 0), (line, done.stderr)


def test_a_c_program_is_linked_as_told(core_build: Path, tmp_path: Path) -> None:
    (line,) = (line for line in commands() if line.startswith("cc "))
    library = tmp_path / "build/plain/libpromptlathe.a"
    library.parent.mkdir(parents=True)
    library.symlink_to(core_build / library.name)
    (tmp_path / "csrc").symlink_to(ROOT / "csrc")
    (tmp_path / "program.c").symlink_to(ROOT / "examples/three_calls.c")
    subprocess.run(["sh", "-c", line], cwd=tmp_path, check=True)
    with Server() as server:
        done = run(server, str(tmp_path / "program"), cwd=tmp_path)
        assert len(server.requests) == 3
    assert (done.returncode, done.stderr) == (0, "")


def test_dev_knows_its_commands() -> None:
    told = subprocess.check_output(["./dev", "help"], cwd=ROOT, encoding="utf-8")
    named = re.findall(r"\./dev (\w+)", README)
    assert {"demo", "test", "help"} <= set(named)
    for name in named:
        assert re.search(rf"^  {name}\b", told, re.MULTILINE), name


def test_packages_are_those_of_the_build() -> None:
    (line,) = (line for line in commands() if line.startswith("apt-get install "))
    packages = line.removeprefix("apt-get install ")
    assert f': {packages}"' in (ROOT / "setup.py").read_text(encoding="utf-8")


def is_exception(kind: type) -> bool:
    return issubclass(kind, Exception)


def test_exceptions() -> None:
    (tree,) = (b.text for b in blocks() if b.text.startswith("PromptLatheError"))
    parents: dict[int, type] = {-4: Exception}
    for line in tree.splitlines():
        depth = len(line) - len(line.lstrip())
        kind = getattr(promptlathe, line.split()[0])
        assert issubclass(kind, parents[depth - 4]), line
        if also := re.search(r"also (\w+):", line):
            assert issubclass(kind, getattr(__import__("builtins"), also[1])), line
        parents[depth] = kind
    named = {line.split()[0] for line in tree.splitlines()}
    public = ((name, getattr(promptlathe, name)) for name in promptlathe.__all__)
    assert named == {n for n, kind in public if isinstance(kind, type) and is_exception(kind)}


def test_options_of_the_client() -> None:
    table = README.partition("| option of `Client` | |")[2].partition("\n\n")[0]
    named = re.findall(r"`(\w+)`", "".join(row.split("|")[1] for row in table.splitlines()[2:]))
    assert sorted(named) == sorted(inspect.signature(promptlathe.Client).parameters)


def test_files_that_are_named_are_there() -> None:
    for path in re.findall(r"\b(?:examples|csrc|python|docs)/[\w./-]*\w", README):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"`(\w+\.md)`", README):
        assert (ROOT / path).exists(), path
