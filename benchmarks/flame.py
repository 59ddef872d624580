"""Where the CPU of a sequential call (2 KB answer) goes: build/bench/results/flame.svg.

    python benchmarks/flame.py [FILE] [--quick]

A flame graph: each box is a function, below what has called it and as wide as its share of the samples;
the tooltips tell name, library and share. Functions that a library has no names for are one box, and of
the kernel's only the outer ones are shown. It needs Linux's perf and the right to use it: root, or a
kernel.perf_event_paranoid of 1 or less (the kernel's own functions have names for root alone).
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import NamedTuple

from support.building import ROOT, SUPPORT
from support.measuring import describe
from support.results import RESULTS

CALLS, QUICK_CALLS = 50_000, 10_000
RECORD = ["perf", "record", "-q", "-F", "1999", "-e", "cpu-clock", "--call-graph", "dwarf,16384"]
WIDTH, LINE, LETTER, LEAST = 1400, 17, 6.4, 0.4  # pixels; narrower boxes are left out
COLOURS = {
    "Python": "#9ecae1",
    "binding": "#bcbddc",
    "core": "#fb6a4a",
    "libcurl": "#fdae6b",
    "libc": "#ffe08a",
    "kernel": "#a1d99b",
    "other": "#d9d9d9",
}
LIBRARIES = {"python": "Python", "libcurl": "libcurl", "libc.so": "libc", "kernel": "kernel"}
FRAME = re.compile(r"^\s+[0-9a-f]+ (.+) \((.*)\)$")
UNKNOWN, DEEPEST = "[unknown]", 8  # of the kernel's functions, one in the other
ENTRY = re.compile(r"entry_SYSCALL|do_syscall_64|x64_sys_call|syscall_(enter|exit)_")


class Frame(NamedTuple):
    """A function in a sample."""

    name: str
    layer: str
    library: str


@dataclass
class Box:
    """A function called from one place, with the samples in it and in what it calls."""

    name: str
    layer: str
    library: str = ""
    samples: int = 0
    called: dict[Frame, Box] = field(default_factory=dict)


# ---- Samples ------------------------------------------------------------------------------------


def record(calls: int) -> str:
    """What perf has seen of the calls, as `perf script` tells it."""
    from canned import Canned

    with Canned() as server, tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/perf.data"
        program = [sys.executable, SUPPORT / "sequential.py", server.url("good-2000"), str(calls)]
        subprocess.run([*RECORD, "-o", data, "--", *program, "1"], check=True)
        told = ["perf", "script", "-i", data, "-F", "ip,sym,dso", "--no-inline"]
        return subprocess.run(told, check=True, stdout=subprocess.PIPE, text=True).stdout


def names_in(folder: str) -> set[str]:
    """The functions that the sources of a folder define."""
    text = "\n".join(path.read_text() for path in ROOT.glob(f"csrc/{folder}/*.c"))
    return set(re.findall(r"^\w[\w\s*]*?\b(\w+)\(", text, re.MULTILINE))


def read_frames(sample: str, binding: set[str]) -> Iterator[Frame]:
    """The frames that are shown, the outermost caller first."""
    last, depth = "", 0
    for line in reversed(sample.splitlines()):
        if not (found := FRAME.match(line)) or ENTRY.match(found[1]):
            continue
        name = re.sub(r"(@.*|\.(isra|part|constprop|cold)\b.*)$", "", found[1])
        library = found[2].rpartition("/")[2]
        layer = layer_of(name, library, binding)
        depth += layer == "kernel"
        if depth <= DEEPEST and (name, library) != (UNKNOWN, last):
            yield Frame(f"({layer}, no names)" if name == UNKNOWN else name, layer, library)
        last = library if name == UNKNOWN else ""


def stacks(text: str) -> Iterator[list[Frame]]:
    """Each sample from the extension on; what is Python's alone has one frame."""
    binding = names_in("binding") - names_in("core")
    for sample in text.split("\n\n"):
        frames = list(read_frames(sample, binding))
        ours = [i for i, frame in enumerate(frames) if frame.layer in ("core", "binding")]
        if ours:
            yield frames[ours[0] :]
        elif frames:
            yield [Frame("the interpreter", "Python", "")]


def layer_of(name: str, library: str, binding: set[str]) -> str:
    if library.startswith("_core."):
        return "binding" if name in binding else "core"
    return next((layer for part, layer in LIBRARIES.items() if part in library), "other")


def tree(found: Iterator[list[Frame]]) -> tuple[Box, Counter[str]]:
    """The boxes, and how many samples ended in each layer."""
    root, ends = Box("a call", "Python"), Counter[str]()
    for stack in found:
        box = root
        box.samples += 1
        for frame in stack:
            box = box.called.setdefault(frame, Box(*frame))
            box.samples += 1
        ends[stack[-1].layer] += 1
    return root, ends


# ---- The picture --------------------------------------------------------------------------------


def rectangle(box: Box, left: float, top: float, scale: float, total: int) -> str:
    width = box.samples * scale
    tip = f"{box.name} ({box.library or box.layer}): {100 * box.samples / total:.1f} %"
    letters = int((width - 4) / LETTER)
    name = box.name if len(box.name) <= letters else box.name[: letters - 1] + "…"
    text = f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(name)}</text>' if letters > 2 else ""
    shape = f'x="{left:.1f}" y="{top}" width="{max(width - 0.5, 0.3):.1f}" height="{LINE - 1}"'
    fill = COLOURS[box.layer]
    return f'<g><title>{escape(tip)}</title><rect {shape} fill="{fill}"/>{text}</g>'


def draw(root: Box, ends: Counter[str]) -> str:
    scale, deepest, parts = WIDTH / root.samples, 0, []
    waiting = [(root, 0.0, 2)]
    while waiting:
        box, left, line = waiting.pop()
        deepest = max(deepest, line)
        parts.append(rectangle(box, left, line * LINE, scale, root.samples))
        for each in sorted(box.called.values(), key=lambda each: -each.samples):
            if each.samples * scale >= LEAST:
                waiting.append((each, left, line + 1))
            left += each.samples * scale
    for place, (layer, fill) in enumerate(COLOURS.items()):
        share = 100 * ends[layer] / root.samples
        key = f'<rect x="{place * 150 + 2}" y="4" width="12" height="12" fill="{fill}"/>'
        parts.append(f'{key}<text x="{place * 150 + 18}" y="14">{layer} {share:.1f} %</text>')
    height = (deepest + 1) * LINE
    style = 'font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="10.5"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {style}>'
    back = f'<rect width="{WIDTH}" height="{height}" fill="white"/>'
    return "\n".join([head, back, *parts, "</svg>", ""])


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", nargs="?", type=Path, default=RESULTS / "flame.svg")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_CALLS} calls")
    arguments = parser.parse_args()
    calls = QUICK_CALLS if arguments.quick else CALLS
    describe()
    try:
        text = record(calls)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"not drawn: {error}\nperf is needed (Debian: linux-perf), and the right to use it")
        return 0
    root, ends = tree(stacks(text))
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    arguments.file.write_text(draw(root, ends), encoding="utf-8")
    shares = ", ".join(f"{layer} {100 * n / root.samples:.1f} %" for layer, n in ends.most_common())
    print(f"{root.samples} samples of {calls} calls: {shares}\nwritten: {arguments.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
