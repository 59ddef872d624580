"""A step of a data pipeline: JSON lines of prompts in, JSON lines of templates out.

Each line of standard input is ``{"prompt": "..."}``; each line of standard output holds the number
of its input line, and either ``messages`` (the template) and ``values`` or ``error``. Order is
kept, one client serves all threads, and no more lines are in memory than calls in flight::

    python examples/pipeline.py < prompts.jsonl > templates.jsonl

The address and the key come from ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY.
"""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import promptlathe

IN_FLIGHT = 16


def step(client: promptlathe.Client, number: int, line: str) -> dict[str, Any]:
    """Templatize the prompt of one line; a failure becomes a record, not the end of the run."""
    try:
        prompt = json.loads(line)["prompt"]
        answer = client.templatize(prompt)
        losses = promptlathe.check_round_trip(prompt, answer)
    except (ValueError, LookupError, TypeError, promptlathe.APIError) as error:
        return {"line": number, "error": f"{type(error).__name__}: {error}"}
    if losses:
        return {"line": number, "error": f"not exact at {losses[0]['path']}"}
    values = answer["variable_values"]
    return {"line": number, "messages": answer["messages"], "values": values}


def run(client: promptlathe.Client, lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield a record for each line, in order, with at most IN_FLIGHT calls under way."""
    waiting: deque[Future[dict[str, Any]]] = deque()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for number, line in enumerate(lines, 1):
            waiting.append(pool.submit(step, client, number, line))
            if len(waiting) == IN_FLIGHT:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def main() -> None:
    """Turn standard input into standard output."""
    with promptlathe.Client() as client:
        for record in run(client, sys.stdin):
            print(json.dumps(record, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
