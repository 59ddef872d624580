"""The three verbs over a real Messages API: what they give, and what they cost.

It asks a model, so it needs a key of the service and costs money: a few cents with most models::

    ANTHROPIC_API_KEY=... python examples/live.py --model claude-sonnet-4-5

With ``--base-url`` it asks a gateway or a local server, which needs no key on this host::

    python examples/live.py --base-url http://127.0.0.1:8080 --model local

The tokens are those that the service counted. Prices change, so they are arguments: look yours up,
and give ``--input-price 3 --output-price 15`` for 3 and 15 of your currency per million tokens.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import promptlathe

MILLION = 1_000_000


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="The three verbs over a real Messages API, and what they cost.",
        epilog="The key is taken from ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN.",
    )
    parser.add_argument("--model", default="claude-sonnet-4-5", help="default: %(default)s")
    parser.add_argument("--base-url", help="default: ANTHROPIC_BASE_URL, else the vendor's")
    parser.add_argument("--effort", choices=["fast", "thorough"], default="fast", help="of improve")
    parser.add_argument("--timeout", type=float, default=600, help="seconds per verb; %(default)s")
    parser.add_argument("--input-price", type=float, help="per million tokens of input")
    parser.add_argument("--output-price", type=float, help="per million tokens of output")
    return parser.parse_args()


def text_of(response: Any) -> str:
    """All messages as text."""
    parts = []
    for message in response["messages"]:
        content = message["content"]
        blocks = [content] if isinstance(content, str) else [each["text"] for each in content]
        parts.append(f"[{message['role']}]\n" + "\n".join(blocks))
    return "\n".join(parts)


def tokens(usage: Any) -> tuple[int, int]:
    """Tokens of input, with those that a cache took in or gave out, and of output."""
    inputs = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(usage.get(name) or 0 for name in inputs), usage.get("output_tokens") or 0


def report(what: str, raw: promptlathe.RawResponse[Any]) -> tuple[int, int]:
    """Print a result and what is known of how it came about; return its tokens."""
    given, written = tokens(raw.data["usage"])
    print(f"=== {what}\n{text_of(raw.data)}")
    for name, value in raw.data.get("variable_values", {}).items():
        print(f"{name} = {value!r}")
    for note in raw.notes or []:
        print(f"note: {note['code']}: {note['message']}")
    print(f"--- requests: {raw.attempts}, {raw.elapsed:.1f} s, {given} + {written} tokens\n")
    return given, written


def ask(client: promptlathe.Client) -> list[tuple[int, int]]:
    """Make the three calls; return the tokens of each."""
    prompts = client.with_raw_response
    spent = [report("generate", prompts.generate("a chef for a meal prep planning service"))]
    improved = prompts.improve(
        "Concise recipe for {{food}}",
        system="You are a professional meal prep chef",
        feedback="Make the recipes shorter",
    )
    spent.append(report("improve", improved))
    text = "Translate hello to German"
    template = prompts.templatize(text)
    spent.append(report("templatize", template))
    losses = promptlathe.check_round_trip(text, template.data)
    print("the template renders back to the original:", losses or "yes")
    return spent


def sums(spent: list[tuple[int, int]], options: argparse.Namespace) -> None:
    """Print the tokens of all calls, and their price where prices were given."""
    given, written = (sum(each) for each in zip(*spent, strict=True))
    print(f"tokens: {given} of input, {written} of output")
    if options.input_price is None or options.output_price is None:
        print("cost: give --input-price and --output-price to have it computed")
        return
    cost = (given * options.input_price + written * options.output_price) / MILLION
    print(f"cost: {cost:.6f}, if the cache's tokens cost as much as others")


def main() -> int:
    """Make the calls and tell what they cost; return the exit code."""
    options = arguments()
    started = time.monotonic()
    try:
        with promptlathe.Client(
            base_url=options.base_url,
            model=options.model,
            effort=options.effort,
            timeout=options.timeout,
        ) as client:
            print(f"{options.model} at {client.base_url}\n")
            spent = ask(client)
    except promptlathe.PromptLatheError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        if isinstance(error, promptlathe.ModelAnswerError):
            print(f"the model wrote: {error.answer}", file=sys.stderr)
        return 1
    sums(spent, options)
    print(f"time: {time.monotonic() - started:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
