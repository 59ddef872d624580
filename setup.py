"""Builds the extension ``promptlathe._core``; what else is to say stands in pyproject.toml."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from glob import glob
from pathlib import Path
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
LIBRARIES = {"libcurl": "-lcurl", "jansson": "-ljansson", "zlib": "-lz"}  # by pkg-config's name
HEADERS = ("Python.h", "curl/curl.h", "jansson.h", "zlib.h")
PACKAGES = (
    "Debian and Ubuntu: gcc pkg-config python3-dev libcurl4-openssl-dev libjansson-dev zlib1g-dev",
    "Fedora: gcc pkgconf-pkg-config python3-devel libcurl-devel jansson-devel zlib-devel",
    "Arch: gcc pkgconf python curl jansson zlib",
    "Homebrew: pkgconf curl jansson zlib",
)
# A free-threaded interpreter has no stable ABI.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")


def version() -> str:
    """Return LATHE_VERSION, the one place where the version stands."""
    header = (ROOT / "csrc/include/promptlathe.h").read_text(encoding="utf-8")
    found = re.search(r'^#define LATHE_VERSION "([^"]+)"$', header, re.MULTILINE)
    if found is None:
        raise SystemExit("csrc/include/promptlathe.h defines no LATHE_VERSION")
    return found[1]


def library_flags(option: str) -> list[str]:
    """Return what pkg-config says (``--cflags`` or ``--libs``), else the libraries' plain names."""
    program = shlex.split(os.environ.get("PKG_CONFIG") or "pkg-config")
    flags: list[str] = []
    for module, plain in LIBRARIES.items():
        try:
            answer = subprocess.check_output([*program, option, module], stderr=subprocess.DEVNULL)
            flags += shlex.split(answer.decode())
        except (OSError, subprocess.CalledProcessError):
            flags += [plain] if option == "--libs" else []
    return flags


def compile_flags() -> list[str]:
    flags = ["-std=c11", "-fvisibility=hidden", "-pthread"]
    flags.append("-Werror=implicit-function-declaration")
    if os.environ.get("PROMPTLATHE_STRICT") == "1":
        # The binding cannot be compiled under -Wpedantic: the slots of types and modules hold
        # functions as void pointers. The Makefile compiles the core with it.
        flags += ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror", "-Wno-pedantic"]
    return flags


def extension() -> Extension:
    macros: list[tuple[str, str | None]] = [("_POSIX_C_SOURCE", "200809L")]
    if STABLE_ABI:
        macros.append(("Py_LIMITED_API", "0x030B0000"))
    return Extension(
        "promptlathe._core",
        sources=sorted(glob("csrc/core/*.c") + glob("csrc/binding/*.c")),
        depends=sorted(glob("csrc/*/*.h")),
        # The binding knows the core by its public header alone.
        include_dirs=["csrc/include"],
        define_macros=macros,
        extra_compile_args=[*compile_flags(), *library_flags("--cflags")],
        extra_link_args=[*library_flags("--libs"), "-pthread"],
        py_limited_api=STABLE_ABI,
    )


def stop(missing: str) -> NoReturn:
    """End the build; its last line names the packages."""
    sys.stdout.flush()
    raise SystemExit(f"error: {missing}. Install these packages: " + "; ".join(PACKAGES))


class BuildExtension(build_ext):
    """Asks for the compiler, the headers and the libraries before it compiles anything."""

    def build_extensions(self) -> None:
        compiler = self.compiler.compiler_so[0]
        if shutil.which(compiler) is None:
            stop(f"the C compiler {compiler!r} is missing")
        absent = [header for header in HEADERS if not self.builds(f"#include <{header}>")]
        if absent:
            stop(f"C headers are missing: {', '.join(absent)}")
        if not self.builds("int main(void) { return 0; }", link=True):
            stop("libcurl, jansson or zlib cannot be linked")
        super().build_extensions()

    def builds(self, source: str, *, link: bool = False) -> bool:
        """Compile a few lines, and link them too when asked, the way the extension is built."""
        core = self.extensions[0]
        folders = [f"-I{folder}" for folder in [*core.include_dirs, *self.compiler.include_dirs]]
        with tempfile.TemporaryDirectory() as scratch:
            Path(scratch, "probe.c").write_text(source + "\n", encoding="utf-8")
            command = [*self.compiler.compiler_so, *folders, *core.extra_compile_args]
            command += ["probe.c", "-o", "probe", *(core.extra_link_args if link else ["-c"])]
            return subprocess.run(command, cwd=scratch, capture_output=True).returncode == 0


setup(
    version=version(),
    ext_modules=[extension()],
    cmdclass={"build_ext": BuildExtension},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
