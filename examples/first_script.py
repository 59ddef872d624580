"""A first script: a task becomes a prompt, a prompt a better one, and a text a template.

Start the simulated service in one terminal, and give its address to the script in another::

    promptlathe mock
    ANTHROPIC_BASE_URL=http://127.0.0.1:8765 ANTHROPIC_API_KEY=any python examples/first_script.py

With another address and a key of that service, the same script speaks to that one.
"""

from __future__ import annotations

import sys

import promptlathe


def show(title: str, messages: list[promptlathe.Message]) -> None:
    """Print messages as text."""
    print(f"=== {title}")
    for message in messages:
        content = message["content"]
        blocks = [content] if isinstance(content, str) else [b["text"] for b in content]
        print(f"[{message['role']}]", *blocks, sep="\n")
    print()


def main() -> int:
    """Make the three calls; return the exit code."""
    try:
        with promptlathe.Client(timeout=60) as client:
            generated = client.generate("a chef for a meal prep planning service")
            show("generated", generated["messages"])

            improved = client.improve(
                "Concise recipe for {{food}}",
                system="You are a professional meal prep chef",
                feedback="Make the recipes shorter",
            )
            show("improved", improved["messages"])

            template = client.templatize("Translate hello to German")
            show("template", template["messages"])
    except promptlathe.PromptLatheError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1

    values = template["variable_values"] | {"TARGET_LANGUAGE": "French"}
    show("the template with another language", promptlathe.render(template, values)["messages"])
    return 0


if __name__ == "__main__":
    sys.exit(main())
