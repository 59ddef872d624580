"""The validators in GB/s (of UTF-8) on inputs of 1 MB, beside plain Python and validation libraries.

    python benchmarks/validators.py [ROUNDS] [--quick]

pydantic, msgspec and jsonschema check messages. CPU of one thread; the versions take turns, ROUNDS
times (15; --quick: 5). CPython keeps the UTF-8 of a str that is not ASCII once somebody has asked for
it: "fresh" strings were never asked, "again" is the same one each time. Every version refuses the same
faulty messages: what a schema cannot say (the order of the roles, lone surrogates) Python does beside.
"""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support import results
from support.building import make_environment
from support.measuring import describe, spread

SIZE = 1_000_000  # bytes
CALLS = 8  # in a measurement; one of what reaches no more than
SLOW = 0.1  # GB/s
OURS, PLAIN = "promptlathe", "plain Python"
# What is freed is kept for the next call: copies of 1 MB would be measured by their page faults.
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(1 << 30), "MALLOC_MMAP_THRESHOLD_": str(1 << 30)}
DUE, AIM = 4.0, 10.0  # GB/s

# A line of text in some languages; some of them make paragraphs.
LINES = {
    "ASCII": "The customer asks for an answer in two sentences and names the order by its number. ",
    "Latin": "Der Käufer möchte für die Lieferung über Köln gern früher eine Bestätigung für später. ",
    "Cyrillic": "Покупатель просит ответить в двух предложениях и называет номер своего заказа. ",
    "CJK": "顾客希望用两句话得到答复，并且写明了订单的编号和发货的日期，还请尽快回信。",
    "emoji": "👍🎉🚀🌍📦✨🙂🔥💡📚",
}
VALUES = {"CUSTOMER": "Ada Lovelace", "ORDER": "no. 1815", "DATE": "10 December"}

Work = Callable[[Any], Any]


# ---- Inputs -------------------------------------------------------------------------------------


def filled(language: str, size: int) -> bytes:
    """Paragraphs of about 400 bytes, up to that size."""
    line = LINES[language]
    paragraph = line * (400 // len(line.encode())) + "\n\n"
    data = (paragraph * (size // len(paragraph.encode()) + 1)).encode()
    return data[:size].decode(errors="ignore").encode()


def text_of(language: str) -> bytes:
    return filled(language, SIZE)


def prompt_of(language: str) -> bytes:
    return b"\n\nHuman: " + filled(language, SIZE) + b"\n\nAssistant:"


def template_of(language: str) -> bytes:
    """A variable in each 4 KB, three names in turn."""
    part = filled(language, 4000)
    names = list(VALUES)
    count = SIZE // len(part)
    return b"".join(part + b"{{%s}}" % names[i % 3].encode() for i in range(count))


def one_message(data: bytes) -> list[Any]:
    return [{"role": "user", "content": data.decode()}]


def many_messages(data: bytes) -> list[Any]:
    """A thousand, each with one block."""
    size = len(data) // 1000
    parts = (data[i * size : (i + 1) * size].decode(errors="ignore") for i in range(1000))
    return [{"role": "user", "content": [{"type": "text", "text": part}]} for part in parts]


# ---- Versions -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """A rule: how its input is made, and who can tell."""

    name: str
    data: Callable[[str], bytes]
    make: Callable[[bytes], Any]
    versions: dict[str, Work]
    limited: bool = True


def refuse_the_same(versions: dict[str, Work], refused: list[Any]) -> None:
    for messages in refused:
        for name, check in versions.items():
            try:
                check(messages)
            except ValueError:
                continue
            raise AssertionError(f"{name} lets {messages} pass")


def make_rows() -> list[Row]:
    import promptlathe
    from support import rules

    def prompt(text: str) -> str:
        return promptlathe.validate_completion_prompt(text, count_tokens=rules.count_tokens)

    def render(text: str) -> str:
        return promptlathe.render(text, VALUES)

    messages = {OURS: promptlathe.validate_messages, **rules.MESSAGES}
    refuse_the_same(messages, rules.REFUSED)
    prompts = {OURS: prompt, PLAIN: rules.check_prompt}
    variables = {OURS: promptlathe.find_variables, PLAIN: rules.find_variables}
    rendered = {OURS: render, PLAIN: lambda text: rules.render(text, VALUES)}
    text, many = bytes.decode, "message list of 1,000 texts"
    return [
        Row("legacy prompt", prompt_of, text, prompts),
        Row("message list of one text", text_of, one_message, messages),
        Row(many, text_of, many_messages, messages),
        Row("find variables", template_of, text, variables),
        Row("render", template_of, text, rendered, limited=False),
    ]


# ---- Measurements -------------------------------------------------------------------------------


def speed(work: Work, inputs: list[Any], size: int) -> float:
    """GB/s, of this thread's CPU."""
    began = time.thread_time()
    for each in inputs:
        work(each)
    return size * len(inputs) / (time.thread_time() - began) / 1e9


def measure_row(row: Row, language: str, rounds: int) -> Iterator[results.Row]:
    data = row.data(language)
    same = row.make(data)
    counts = {
        name: CALLS if speed(work, [same] * 2, len(data)) > SLOW else 1
        for name, work in row.versions.items()
    }
    for kind in ("fresh", "again"):
        seen: dict[str, list[float]] = {name: [] for name in row.versions}
        for _ in range(rounds):
            for name, work in row.versions.items():
                fresh = kind == "fresh"
                inputs = [row.make(data) if fresh else same for _ in range(counts[name])]
                seen[name].append(speed(work, inputs, len(data)))
        for name, values in seen.items():
            limited = name == OURS and language == "ASCII" and row.limited
            due, aim = (DUE, AIM) if limited else (None, None)
            title = f"{row.name}, {language}, {kind}"
            yield results.Row(title, name, values, due=due, aim=aim, limit_unit="GB/s")


def measure(rounds: int) -> list[results.Row]:
    gc.disable()  # as timeit does: the thousand dicts of an input would bring it about
    made = make_rows()
    return [each for row in made for name in LINES for each in measure_row(row, name, rounds)]


def show(rows: list[results.Row]) -> None:
    last = ""
    for row in rows:
        if row.row != last:
            print(row.row)
        last = row.row
        print(f"    {row.client:14} {spread(row.values, 1)} GB/s")


def measure_inside(rounds: int) -> None:
    """Run this script once more, in the environment that has the others and, by its path, us."""
    import promptlathe

    path = Path(promptlathe.__file__).parents[1]
    command = [make_environment(), __file__, str(rounds), "--inside"]
    environment = os.environ | {"PYTHONPATH": str(path), **KEPT_MEMORY}
    subprocess.run(command, check=True, env=environment)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", nargs="?", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="5 rounds")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    rounds = 5 if arguments.quick else arguments.rounds
    if not arguments.inside:
        measure_inside(rounds)
        return
    describe()
    rows = measure(rounds)
    show(rows)
    title = "Validators, inputs of 1 MB"
    results.save("validators", title=title, unit="GB/s", better="higher", baseline=PLAIN, rows=rows)


if __name__ == "__main__":
    main()
