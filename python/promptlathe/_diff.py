"""What differs between two prompts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ._core import InvalidRequestError, find_variables, render
from ._visible import visible
from ._word_diff import Piece, Token, pieces_of, words_of

if TYPE_CHECKING:
    from ._types import ConvertedPrompt, Message, NormalizedMessage, PromptResponse

    _Prompt = (
        str
        | Sequence[Message | NormalizedMessage | dict[str, Any]]
        | PromptResponse
        | ConvertedPrompt
        | dict[str, Any]
    )

__all__ = ["Diff", "diff"]

_CONTEXT = 3  # lines that are shown on each side of a longer stretch without a change
_COLOURS = {"-": "31", "+": "32"}  # red and green, as SGR codes
_BACKGROUNDS = {"-": "41", "+": "42"}
_TAGS = {
    "=": ("", ""),
    "-": ('<del style="background:#ffd7d5;color:#1f2328">', "</del>"),
    "+": ('<ins style="background:#ccffd8;color:#1f2328;text-decoration:none">', "</ins>"),
}


def diff(before: _Prompt, after: _Prompt) -> Diff:
    """Compare two prompts word by word.

    Parameters
    ----------
    before, after : str, list of messages, or dict
        Each a text, messages, or a response (its system first, then its messages). A text stands
        for one user message, and content that is a str for one text block.

    Returns
    -------
    Diff
        What was added and removed. It shows itself: ``print(it)`` as text, ``it.ansi()`` for a
        terminal, and by itself in a notebook.

    Raises
    ------
    TypeError
        When an argument is none of these.
    InvalidRequestError
        When something inside one is not of the expected form; each path begins with ``before.``
        or ``after.``.

    Examples
    --------
    >>> from promptlathe import diff
    >>> changes = diff("Translate hello to German.", "Translate {{WORD}} to German, please.")
    >>> changes.removed, changes.added, changes.won
    (['hello'], ['{{WORD}}', 'please'], ['WORD'])
    >>> print(changes)
    Translate [-hello-]{+{{WORD}}+} to German{+, please+}.
    <BLANKLINE>
    1 word removed, 2 added; 26 characters became 37
    variables won: WORD
    """
    return Diff(before, after)


class Diff:
    """What differs between two prompts; `diff` makes it.

    Attributes
    ----------
    changed : bool
        Whether anything differs: a text, a role, or where a message or block begins.
    added, removed : list of str
        Words, in order. Punctuation and space are no words, a ``{{VARIABLE}}`` is one.
    lost, won : list of str
        Names of variables that only `before`, or only `after`, has.
    sizes : dict
        ``{"before": {"characters": int, "words": int}, "after": ...}``, headings not counted.
        Characters are code points.
    before, after : str
        The texts that were compared, a blank line between two blocks.
    """

    def __init__(self, before: _Prompt, after: _Prompt) -> None:
        old, new = _plain(before, "before"), _plain(after, "after")
        sections = _sections(old), _sections(new)
        self.changed = sections[0] != sections[1]
        self._pieces = _compare(*sections) if self.changed else []
        self.before, self.after = ("\n\n".join(text for _, text in side) for side in sections)
        self.sizes = {"before": _size(sections[0]), "after": _size(sections[1])}
        self.removed, self.added = (_words(self._pieces, sign) for sign in "-+")
        names = dict.fromkeys(find_variables(old)), dict.fromkeys(find_variables(new))
        self.lost = [name for name in names[0] if name not in names[1]]
        self.won = [name for name in names[1] if name not in names[0]]

    def __repr__(self) -> str:
        return f"<Diff: {self._summary()[0]}>"

    def __str__(self) -> str:
        """Show it as text, removed words as ``[-these-]`` and added ones as ``{+these+}``."""
        return self._shown(_marked)

    def ansi(self) -> str:
        """Show it for a terminal: removed words red, added ones green.

        Control characters of the texts are made visible, so that they cannot steer the terminal.
        Colour is not left out when ``NO_COLOR`` is set: `str` is the form without.

        Returns
        -------
        str
            Text with escape sequences of ECMA-48 (SGR).
        """
        return self._shown(_painted)

    def _repr_html_(self) -> str:
        from html import escape

        def marked(sign: str, text: str) -> str:
            start, end = _TAGS[sign]
            return f"{start}{escape(_with_breaks(sign, text))}{end}"

        body = self._body(marked)
        pre = f'<pre style="white-space:pre-wrap">{body}</pre>' if body else ""
        return f"<div>{pre}<p>{'<br>'.join(map(escape, self._summary()))}</p></div>"

    def _shown(self, marked: Callable[[str, str], str]) -> str:
        body = self._body(marked)
        gap = "\n" if body.endswith("\n") else "\n\n" if body else ""
        return body + gap + "\n".join(self._summary())

    def _body(self, marked: Callable[[str, str], str]) -> str:
        """Lay the pieces out: each heading has a line of its own, and a blank one before it."""
        parts: list[str] = []
        for sign, heading, text in self._pieces:
            if not heading:
                parts.append(marked(sign, _shortened(text) if sign == "=" else text))
                continue
            if parts:
                parts.append("\n" if parts[-1].endswith("\n") else "\n\n")
            parts += [marked(sign, f"── {text} ──"), "\n"]
        return "".join(parts)

    def _summary(self) -> list[str]:
        before, after = self.sizes["before"], self.sizes["after"]
        if not self.changed:
            words, characters = _count(before["words"], "word"), before["characters"]
            return [f"no difference: {words}, {_count(characters, 'character')}"]
        lines = [
            f"{_count(len(self.removed), 'word')} removed, {len(self.added):,} added; "
            f"{_count(before['characters'], 'character')} became {after['characters']:,}"
        ]
        for title, names in (("lost", self.lost), ("won", self.won)):
            if names:
                lines.append(f"variables {title}: {', '.join(names)}")
        return lines


def _plain(prompt: Any, side: str) -> Any:
    """Return a checked copy in exact types."""
    if not isinstance(prompt, (str, list, tuple, dict)):
        wanted = "a str, a list of messages or a response dict"
        raise TypeError(f"{side} must be {wanted}, not {type(prompt).__name__}")
    try:
        return render(prompt, {}, partial=True)
    except InvalidRequestError as error:
        for fault in error.errors:
            fault["path"] = f"{side}.{fault['path']}"
        error.args = (f"{side}: {error}",)
        raise


def _sections(prompt: Any) -> list[tuple[str, str]]:
    """Return the heading and the text of each block."""
    if isinstance(prompt, str):
        return [("user", prompt)]
    messages = prompt
    found = []
    if isinstance(prompt, dict):
        messages = prompt["messages"]
        if prompt.get("system"):
            found.append(("system", prompt["system"]))
    for message in messages:
        found += _blocks(str(message.get("role")), message["content"])
    return found


def _blocks(role: str, content: Any) -> Iterator[tuple[str, str]]:
    if isinstance(content, str) or not content:
        yield role, content or ""
        return
    for number, block in enumerate(content, 1):
        yield role if number == 1 else f"{role}, block {number}", _block_text(block)


def _block_text(block: dict[str, Any]) -> str:
    if block["type"] == "text":
        return str(block["text"])
    import json

    return json.dumps(block, ensure_ascii=False)


def _compare(before: list[tuple[str, str]], after: list[tuple[str, str]]) -> list[Piece]:
    """Compare with headings, unless both are one user message and these would say nothing."""
    plain = all([heading for heading, _ in side] == ["user"] for side in (before, after))
    return pieces_of(_tokens(before, plain=plain), _tokens(after, plain=plain))


def _tokens(sections: list[tuple[str, str]], *, plain: bool) -> Iterator[Token]:
    for heading, text in sections:
        if not plain:
            yield Token(True, heading)
        yield Token(False, text)


def _size(sections: list[tuple[str, str]]) -> dict[str, int]:
    return {
        "characters": sum(len(text) for _, text in sections),
        "words": sum(len(words_of(text)) for _, text in sections),
    }


def _words(pieces: list[Piece], sign: str) -> list[str]:
    texts = (piece.text for piece in pieces if piece.sign == sign and not piece.heading)
    return [word for text in texts for word in words_of(text)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _shortened(text: str) -> str:
    """Leave out the middle of a long stretch in which nothing changed."""
    lines = text.split("\n")
    hidden = len(lines) - 2 * _CONTEXT
    if hidden < 3:
        return text
    note = f"[... {hidden:,} lines without a change ...]"
    return "\n".join([*lines[:_CONTEXT], note, *lines[-_CONTEXT:]])


def _marked(sign: str, text: str) -> str:
    return {"=": text, "-": f"[-{text}-]", "+": f"{{+{text}+}}"}[sign]


def _painted(sign: str, text: str) -> str:
    """Colour each line by itself, as pagers want it; space has a colour behind it only."""
    shown = visible(_with_breaks(sign, text))
    if sign == "=":
        return shown
    code = (_COLOURS if text.strip() else _BACKGROUNDS)[sign]
    return re.sub(r"[^\n]+", lambda line: f"\x1b[{code}m{line[0]}\x1b[0m", shown)


def _with_breaks(sign: str, text: str) -> str:
    """Show line breaks, where a change has nothing else to be seen by."""
    return text if sign == "=" or text.strip() else text.replace("\n", "↵\n")
