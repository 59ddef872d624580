"""How the command shows results: for people, as JSON, on standard output or in a file."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from .._visible import visible
from .failures import INTERNAL, USAGE, CommandError

_VARIABLE = re.compile(r"\{\{[ \t]*[A-Za-z_][A-Za-z0-9_]*[ \t]*\}\}")


class Style:
    """Colour where it is wanted.

    Parameters
    ----------
    terminal
        Whether the text is shown on a terminal. Then control characters are made visible, and
        there is colour unless NO_COLOR is set (https://no-color.org) or the terminal is dumb.
    """

    def __init__(self, *, terminal: bool) -> None:
        self.terminal = terminal
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        self.colour = terminal and not plain

    def paint(self, code: str, text: str) -> str:
        """Return `text` in the colour of an SGR `code`, or as it is."""
        return f"\x1b[{code}m{text}\x1b[0m" if self.colour else text

    def safe(self, text: str) -> str:
        """Return `text` as it may be shown."""
        return visible(text) if self.terminal else text

    def prompt(self, text: str) -> str:
        """Return the text of a prompt with its variables marked."""
        return _VARIABLE.sub(lambda found: self.paint("33", found[0]), self.safe(text))

    def heading(self, title: str) -> str:
        """Return the line above a section."""
        return self.paint("1;36", f"── {self.safe(title)} " + "─" * max(4, 56 - len(title)))


def say(*lines: str) -> None:
    """Tell the user something on standard error, the first line under the command's name."""
    if sys.stderr is None:
        return
    text = "\n".join(lines).replace("\n", "\n  ")
    # Nobody may be reading it; the exit code still tells.
    with contextlib.suppress(OSError):
        print(f"promptlathe: {visible(text)}", file=sys.stderr)


def style_for(path: str | None) -> Style:
    """Return the style of what goes to the file `path`, or to standard output when it is None."""
    return Style(terminal=path is None and sys.stdout is not None and sys.stdout.isatty())


def compact(value: object) -> str:
    """Return a value as JSON in one line."""
    import json

    return json.dumps(value, ensure_ascii=False)


def document(value: object) -> str:
    """Return a value as the JSON document of ``--json``."""
    import json

    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def readable(answer: Mapping[str, Any], style: Style) -> str:
    """Return an answer, or whatever has messages, for people.

    Parameters
    ----------
    answer
        With ``messages``, and perhaps ``system``, ``variable_values`` and ``usage``.
    style
        How it is shown.
    """
    parts = []
    if answer.get("system"):
        parts.append((style.heading("system"), style.prompt(answer["system"])))
    last = len(answer["messages"]) - 1
    for index, message in enumerate(answer["messages"]):
        title = "assistant (prefill)" if _is_prefill(message, index, last) else message["role"]
        parts.append((style.heading(title), style.prompt(_text_of(message["content"]))))
    if "variable_values" in answer:
        parts.append((style.heading("variables"), _table(answer["variable_values"], style)))
    if "usage" in answer:
        parts.append((style.heading("usage"), _usage(answer["usage"], style)))
    return "\n\n".join(f"{heading}\n{body}" for heading, body in parts) + "\n"


def _is_prefill(message: Mapping[str, Any], index: int, last: int) -> bool:
    return message["role"] == "assistant" and index == last


def _text_of(content: str | Sequence[Mapping[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n\n".join(
        block["text"] if block["type"] == "text" else f"[{block['type']}: {compact(block)}]"
        for block in content
    )


def _table(values: Mapping[str, Any], style: Style) -> str:
    if not values:
        return style.paint("2", "none")
    width = max(map(len, values))
    return "\n".join(
        style.paint("33", style.safe(name).ljust(width))
        + "  "
        + style.safe(value if isinstance(value, str) else compact(value))
        for name, value in values.items()
    )


def _usage(usage: object, style: Style) -> str:
    return _table(usage, style) if isinstance(usage, dict) else style.safe(compact(usage))


def require_writable(path: str | None) -> None:
    """Refuse a file that cannot be written, before any work is done for it.

    Parameters
    ----------
    path
        The value of ``--output``, or None.

    Raises
    ------
    CommandError
        It is a directory, or its directory is not there or cannot be written.
    """
    if path is None:
        return
    folder = os.path.dirname(os.path.realpath(path))
    if os.path.isdir(path):
        raise CommandError(USAGE, f"{path}: is a directory: name a file")
    if not os.path.isdir(folder):
        raise CommandError(USAGE, f"{path}: there is no directory {folder}")
    if not _is_special(path) and not os.access(folder, os.W_OK | os.X_OK):
        raise CommandError(USAGE, f"{path}: the directory {folder} cannot be written")


def _is_special(path: str) -> bool:
    """Whether it is there and no regular file, such as a pipe or ``/dev/null``."""
    return os.path.exists(path) and not os.path.isfile(path)


def emit(text: str, path: str | None) -> None:
    """Write `text`, exactly, to the file `path` or to standard output when it is None.

    A terminal gets a newline at the end where there is none.

    Raises
    ------
    CommandError
        It could not be written.
    """
    if path is not None:
        _write_file(text, path)
    elif sys.stdout is None:
        raise CommandError(USAGE, "standard output is closed: use --output FILE")
    else:
        sys.stdout.write(text)
        if sys.stdout.isatty() and not text.endswith("\n"):
            sys.stdout.write("\n")


def _write_file(text: str, path: str) -> None:
    data = text.encode(errors="backslashreplace")
    try:
        if _is_special(path):
            with open(path, "wb") as file:
                file.write(data)
        else:
            _replace_file(data, os.path.realpath(path))
    except OSError as error:
        raise CommandError(INTERNAL, f"{path}: cannot be written: {error.strerror}") from error


def _replace_file(data: bytes, path: str) -> None:
    """Put `data` in place of the file: whole or not at all, readable by its owner only."""
    import tempfile

    # mkstemp makes the file with mode 0600 (POSIX), and rename keeps that.
    number, temporary = tempfile.mkstemp(prefix=".promptlathe-", dir=os.path.dirname(path))
    try:
        with open(number, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
