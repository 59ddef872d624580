"""Write the instructions into csrc/core/instructions_text.c: ``python3 csrc/instructions/embed.py``.

With ``--check`` nothing is written: it says whether the C file holds what the text files say.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
TARGET = HERE.parent / "core/instructions_text.c"
# In the order of lathe_instruction_kind.
NAMES = [
    "version",
    "generate",
    "improve",
    "improve-1-examples",
    "improve-2-draft",
    "improve-3-reasoning",
    "improve-4-rework",
    "templatize",
    "again",
]
HEAD = """/* Made by csrc/instructions/embed.py from the texts beside it: change those, then run it. */
#include "instructions.h"

/* clang-format off */
const lathe_instruction lathe_builtin_instructions[LATHE_INSTRUCTION_COUNT] = {
"""


def _literal(line: str) -> str:
    escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'     "{escaped}"\n'


def _entry(name: str) -> str:
    text = (HERE / f"{name}.txt").read_text(encoding="utf-8")
    assert text.isascii(), name
    return f'    {{"{name}",\n{"".join(map(_literal, text.splitlines(keepends=True)))}    }},\n'


def _source() -> str:
    return HEAD + "".join(map(_entry, NAMES)) + "};\n"


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        if TARGET.read_text(encoding="utf-8") != _source():
            sys.exit("csrc/core/instructions_text.c is not what csrc/instructions/embed.py makes")
    else:
        TARGET.write_text(_source(), encoding="utf-8")
