"""CPU of a call with a large answer or a large request, against one of a quarter of the size.

A cost in proportion to the size gives a ratio of about 4, a quadratic one 16. The service runs in
another process and answers ready-made bytes.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import promptlathe
from promptlathe import Client
from support.measuring import cpu_of, describe, side_by_side, spread

MEGABYTE = 1 << 20
TEXTS = {
    "ASCII": "Summarize the {{DOCUMENT}} in three sentences. ",
    "Cyrillic": "Перескажи {{DOCUMENT}} в трёх предложениях. ",
    "escapes": 'A "quoted"\n\tline \\ and another\r\n',
}


def filled(text: str, size: int) -> str:
    return text * (size // len(text.encode()))


def main() -> None:
    from canned import Canned

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    describe()
    with Canned() as server:
        rows: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {}
        clients = {
            size: Client("a-key", base_url=server.url(f"good-{size}"))
            for size in (2000, MEGABYTE, 4 * MEGABYTE)
        }

        def answer(size: int) -> Callable[[], float]:
            return lambda: cpu_of(lambda: clients[size].generate("Summarize a letter"))

        def request(text: str, size: int) -> Callable[[], float]:
            prompt = filled(text, size)
            return lambda: cpu_of(lambda: clients[2000].templatize(prompt))

        def checked(text: str, size: int) -> Callable[[], float]:
            messages = [{"role": "user", "content": filled(text, size)}]
            return lambda: cpu_of(lambda: promptlathe.validate_messages(messages))

        rows["answer of 4 MB"] = (answer(MEGABYTE), answer(4 * MEGABYTE))
        for name, text in TEXTS.items():
            rows[f"request of 1 MB, {name}"] = (
                request(text, MEGABYTE // 4),
                request(text, MEGABYTE),
            )
        rows["check of 4 MB"] = (
            checked(TEXTS["ASCII"], MEGABYTE),
            checked(TEXTS["ASCII"], 4 << 20),
        )
        print(f"{'':28} CPU in ms, median of {rounds}        a quarter of it       ratio")
        for name, (small, large) in rows.items():
            measured = side_by_side({"small": small, "large": large}, rounds)
            ratio = statistics.median(measured["large"]) / statistics.median(measured["small"])
            print(
                f"{name:28} {spread(measured['large'], 0.001):32} "
                f"{spread(measured['small'], 0.001):32} {ratio:5.2f}"
            )
        for client in clients.values():
            client.close()


if __name__ == "__main__":
    main()
