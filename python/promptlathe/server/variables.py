"""Finding variables in text, and making names for new ones."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PATTERN = re.compile(r"\{\{[ \t]*+([A-Za-z_][A-Za-z0-9_]*+)[ \t]*+\}\}")


def find(texts: Iterable[str]) -> list[str]:
    """The names of the variables in `texts`, each once, in first-seen order."""
    return list(dict.fromkeys(m.group(1) for text in texts for m in PATTERN.finditer(text)))


def texts_of(messages: list[dict[str, Any]]) -> list[str]:
    """The text of every block of normalized messages, in order."""
    return [block["text"] for message in messages for block in message["content"]]


def without_strange(text: str, known: Iterable[str]) -> str:
    """`text` with every variable that is not among `known` written as `name` instead.

    The backquotes keep braces around it from making a variable of the name again.
    """
    names = set(known)
    return PATTERN.sub(lambda m: m.group() if m.group(1) in names else f"`{m.group(1)}`", text)


def tag(name: str) -> str:
    """The name of the XML tag that holds the value of a variable."""
    return name.lower().strip("_") or "input"


def section(name: str, text: str) -> str:
    """`text` between XML tags, each on a line of its own."""
    return f"<{name}>\n{text}\n</{name}>"


def numbered(lines: Iterable[str]) -> str:
    """The lines as a numbered list."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))
