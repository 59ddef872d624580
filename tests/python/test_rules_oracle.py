"""Many random inputs through the library and the oracle; every answer must be the same.

The normal run takes a bounded number. The long one is a command, from the root of the project:

    PYTHONPATH=python python tests/python/test_rules_oracle.py --count 1000000 --seed 1

A failure names its seed and number; `--only NUMBER` with that seed repeats just that input.
"""

from __future__ import annotations

import argparse
import collections
import reprlib
import sys
import time
from collections.abc import Callable
from random import Random
from typing import Any

import agreement
import pytest
import random_inputs
from hostile import MethodWasCalled

COUNT = 20_000


def _messages(random: Random) -> tuple[Any, Callable[[], str]]:
    value = random_inputs.messages(random)
    return value, lambda: agreement.messages_agree(value)


def _prompt(random: Random) -> tuple[Any, Callable[[], str]]:
    prompt, tokens = random_inputs.prompt(random)
    return (prompt, tokens), lambda: agreement.prompt_agrees(prompt, tokens)


def _template(random: Random) -> tuple[Any, Callable[[], str]]:
    prompt, values, partial = random_inputs.template(random)
    question = lambda: agreement.template_agrees(prompt, values, partial=partial)  # noqa: E731
    return (prompt, values, partial), question


def _round_trip(random: Random) -> tuple[Any, Callable[[], str]]:
    request, response, system = random_inputs.round_trip(random)
    question = lambda: agreement.round_trip_agrees(request, response, system)  # noqa: E731
    return (request, response, system), question


KINDS = {
    "messages": _messages,
    "prompt": _prompt,
    "template": _template,
    "round trip": _round_trip,
}


def one(seed: int, number: int) -> tuple[str, str]:
    """Checks input `number` of a seed. Returns its kind and the kind of its outcome."""
    random = Random(seed << 40 | number)
    kind = list(KINDS)[number % len(KINDS)]
    value, question = KINDS[kind](random)
    try:
        return kind, question()
    except (Exception, MethodWasCalled) as error:
        raise AssertionError(
            f"{kind}, --seed {seed} --only {number}: {error}\ninput: {reprlib.repr(value)}"
        ) from error


def many(seed: int, count: int) -> collections.Counter[tuple[str, str]]:
    """Checks the first `count` inputs of a seed. Returns how many had each outcome."""
    return collections.Counter(one(seed, number) for number in range(count))


# What a run must have met, so that it cannot pass by looking at one easy kind only.
OUTCOMES = {
    ("messages", "accepted"), ("messages", "refused"), ("prompt", "accepted"),
    ("prompt", "refused"), ("template", "rendered"), ("template", "missing"),
    ("template", "wrong type"), ("round trip", "exact"), ("round trip", "differs"),
    ("round trip", "refused"), ("round trip", "wrong type"),
}  # fmt: skip


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_inputs_agree_with_the_oracle(seed: int) -> None:
    outcomes = many(seed, COUNT // 4)
    assert outcomes.total() == COUNT // 4
    assert set(outcomes) == OUTCOMES


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare the library with the oracle.")
    parser.add_argument("--count", type=int, default=COUNT, help="inputs to try")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other inputs")
    parser.add_argument("--only", type=int, help="try just this one input of the seed")
    options = parser.parse_args()
    if options.only is not None:
        print(*one(options.seed, options.only), sep=": ")
        return 0
    began = time.monotonic()
    outcomes = many(options.seed, options.count)
    for (kind, outcome), number in sorted(outcomes.items()):
        print(f"{kind:12} {outcome:12} {number:9}")
    print(
        f"{outcomes.total()} inputs of seed {options.seed} agree ({time.monotonic() - began:.1f} s)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
