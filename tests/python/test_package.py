"""Facts about what is built: who knows Python, who knows curl, what is exported and shipped."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import promptlathe
import pytest
from conftest import ROOT
from promptlathe import _core

CORE = sorted((ROOT / "csrc/core").glob("*.[ch]"))
SOURCES = sorted(
    path for folder in ("core", "binding") for path in (ROOT / "csrc" / folder).iterdir()
)

# strcpy and its kin know no size, strtok and rand no thread, and malloc is called in one place.
BANNED = (
    "strcpy stpcpy strcat sprintf vsprintf gets strncpy strncat strtok rand srand random "
    "atoi atol atof alloca system popen tmpnam mktemp setenv putenv unsetenv longjmp setjmp "
    "signal sleep usleep"
).split()
ALLOCATING = "malloc calloc realloc strdup strndup asprintf vasprintf".split()

Symbols = Callable[..., list[str]]


def symbols(path: Path, *options: str) -> list[str]:
    """Names that ``nm`` lists, without the versions that the linker adds."""
    listed = subprocess.run(
        ["nm", "--format=posix", *options, path], check=True, capture_output=True, text=True
    ).stdout
    return [line.split()[0].partition("@")[0] for line in listed.splitlines() if " " in line]


def without_comments(path: Path) -> str:
    return re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def code_of(path: Path) -> str:
    """Return a C file without comments, strings and characters."""
    return re.sub(r'"(\\.|[^"\\\n])*"|\'(\\.|[^\'\\\n])*\'', '""', without_comments(path))


def includes(path: Path) -> set[str]:
    return set(re.findall(r'^\s*#\s*include\s*[<"]([^>"]+)', without_comments(path), re.MULTILINE))


def calls(path: Path, names: list[str]) -> list[str]:
    return re.findall(rf"(?<![\w.>])({'|'.join(names)})\s*\(", code_of(path))


# ---- The core -----------------------------------------------------------------------------------


def test_core_objects_ask_for_no_python_symbol(core_build: Path) -> None:
    objects = sorted((core_build / "core").glob("*.o"))
    assert {path.stem for path in objects} >= {path.stem for path in CORE if path.suffix == ".c"}
    wanted = {name for path in objects for name in symbols(path, "--undefined-only")}
    assert "malloc" in wanted  # the listing is one of real objects
    assert [name for name in wanted if re.match(r"_?Py", name)] == []


def test_core_is_compiled_without_pythons_headers(core_build: Path) -> None:
    folders = {sysconfig.get_path("include"), sysconfig.get_path("platinclude")}
    flags = (core_build / "flags").read_text(encoding="utf-8")
    assert [folder for folder in folders if folder in flags] == []
    seen = "".join(path.read_text(encoding="utf-8") for path in (core_build / "core").glob("*.d"))
    assert "promptlathe.h" in seen and "Python.h" not in seen


def test_core_names_are_its_own(core_build: Path) -> None:
    names = symbols(core_build / "libpromptlathe.a", "--defined-only", "--extern-only")
    assert "lathe_error_init" in names
    assert [name for name in names if not name.startswith("lathe_") and "[" not in name] == []


@pytest.mark.parametrize(
    ("prefix", "files"),
    [
        ("curl_", {"transport", "multi", "settings"}),  # settings: to take addresses apart
        (
            "json_",
            {"value_jansson", "response", "quote"}
            | {"model_answer", "spans", "task", "task_request"},  # they build and take apart
        ),
        ("inflate", {"gunzip"}),
    ],
)
def test_only_these_files_call_the_library(core_build: Path, prefix: str, files: set[str]) -> None:
    users = {
        path.stem
        for path in (core_build / "core").glob("*.o")
        if any(name.startswith(prefix) for name in symbols(path, "--undefined-only"))
    }
    assert users and users <= files


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_core_includes_nothing_of_the_binding(path: Path) -> None:
    binding = {other.name for other in (ROOT / "csrc/binding").glob("*.h")}
    assert not includes(path) & (binding | {"Python.h"})


def test_binding_knows_the_core_by_its_public_header_alone() -> None:
    core = {path.name for path in CORE if path.suffix == ".h"}
    for path in (ROOT / "csrc/binding").glob("*.[ch]"):
        assert not includes(path) & core, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_banned_function(path: Path) -> None:
    assert calls(path, BANNED) == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_memory_comes_from_one_place(path: Path) -> None:
    if path.name != "alloc.c":
        assert calls(path, ALLOCATING) == []


# ---- The extension ------------------------------------------------------------------------------


def test_extension_exports_its_init_function_alone() -> None:
    assert _core.__file__ is not None
    names = symbols(Path(_core.__file__), "--dynamic", "--defined-only")
    # A sanitizer adds symbols of its own to a build with it.
    assert [name for name in names if "asan" not in name and "ubsan" not in name] == [
        "PyInit__core"
    ]


def test_extension_uses_the_stable_abi_where_there_is_one() -> None:
    assert _core.__file__ is not None
    free_threaded = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    assert _core.__file__.endswith(".abi3.so") is not free_threaded


# ---- The package --------------------------------------------------------------------------------


def test_one_version() -> None:
    header = (ROOT / "csrc/include/promptlathe.h").read_text(encoding="utf-8")
    version = re.findall(r'LATHE_VERSION "([^"]+)"', header)
    assert [promptlathe.__version__] == version
    printed = subprocess.run(
        [sys.executable, "-m", "promptlathe", "--version"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert version[0] in printed


def test_types_are_shipped() -> None:
    assert promptlathe.__file__ is not None
    package = Path(promptlathe.__file__).parent
    assert (package / "py.typed").is_file() and (package / "_core.pyi").is_file()


def test_package_needs_no_other() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r"^dependencies = (.*)$", text, re.MULTILINE) == ["[]"]


def test_import_needs_nothing_but_the_standard_library() -> None:
    script = (
        "import sys, promptlathe; "
        "top = {name.partition('.')[0] for name in sys.modules}; "
        "print(sorted(top - sys.stdlib_module_names - {'promptlathe', '__main__'}))"
    )
    assert promptlathe.__file__ is not None
    printed = subprocess.run(
        # -S: what site packages put into every interpreter is none of this package's doing.
        [sys.executable, "-S", "-c", script],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(promptlathe.__file__).parents[1])},
    ).stdout
    assert printed.strip() == "[]"


# ---- The text of the project --------------------------------------------------------------------


def project_files() -> list[Path]:
    """Every text file of the project, whether it is a checkout or an unpacked archive."""
    tops = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "dev", "setup.py", "pyproject.toml"]
    found = [ROOT / name for name in tops]
    for folder in (".ci", "csrc", "python", "tests", "examples", "benchmarks", "docs", "wheels"):
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    built = {"__pycache__", ".so", ".pyc"}
    return [path for path in found if path.is_file() and not built & {*path.parts, path.suffix}]


def test_nothing_names_the_machine_it_was_written_on() -> None:
    # Written in parts, so that this file does not hold what it looks for.
    private = re.compile(r"(?<![\w.])/(?:ho" r"me|ro" r"ot|wo" r"rk|Us" r"ers)/\w")
    hits = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in project_files()
        if "egg-info" not in str(path)
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if private.search(line)
    ]
    assert hits == []


def test_no_mark_of_unfinished_work() -> None:
    marks = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    hits = [
        str(path.relative_to(ROOT))
        for path in project_files()
        if path.suffix in {".c", ".h", ".py", ".pyi", ".sh", ".md"}
        and marks.search(path.read_text(encoding="utf-8"))
    ]
    assert hits == []


def test_installed_metadata_names_the_command_and_the_plugin() -> None:
    """Entry points, read from the project's table, load what they name."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for group, target in (
        ("scripts", "promptlathe.cli:main"),
        ("pytest11", "promptlathe.pytest_plugin"),
    ):
        assert f'promptlathe = "{target}"' in text
        assert importlib.metadata.EntryPoint("promptlathe", target, group).load() is not None
