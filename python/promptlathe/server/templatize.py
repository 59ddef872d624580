"""The simulated templatizer: literal values out, variables in, and the way back exact.

A span is replaced only where it touches neither a brace nor a variable of the input, and a new name
is never one that the input uses. So the new variables are all that a partial rendering replaces,
each where it was put in, and it gives back the input to the character.
"""

from __future__ import annotations

from typing import Any

from promptlathe.server.spans import Span, find_spans
from promptlathe.server.variables import PATTERN, find, texts_of

MAX_VARIABLES = 100  # more would be no template that anybody fills in
_REPEATED_LENGTH = 200  # characters; longer values are not looked for elsewhere


def templatize(messages: list[dict[str, Any]], system: str) -> dict[str, Any]:
    """Replace the values in a prompt by variables.

    Parameters
    ----------
    messages
        In normal form; roles, blocks and their order are kept.
    system
        The system prompt, or "".

    Returns
    -------
    dict
        `messages`, `system` and `variable_values`, the text behind each new variable.
    """
    texts = [*texts_of(messages), system]
    names = _Names(find(texts))
    drafts = [_Draft(text) for text in texts]
    for draft in drafts:
        draft.take_values(names)
    for draft in drafts:
        draft.take_repeats(names)
    *blocks, new_system = [draft.template() for draft in drafts]
    return {
        "messages": _rebuild(messages, iter(blocks)),
        "system": new_system,
        "variable_values": {name: value for value, name in names.by_value.items()},
    }


def _rebuild(messages: list[dict[str, Any]], blocks: Any) -> list[dict[str, Any]]:
    return [
        {
            "role": message["role"],
            "content": [{"type": "text", "text": next(blocks)} for _ in message["content"]],
        }
        for message in messages
    ]


class _Names:
    """The name of each value: one name for one text, no name twice, none that the input uses."""

    def __init__(self, used: list[str]) -> None:
        self.by_value: dict[str, str] = {}
        self._taken = {name.upper() for name in used}
        self._next: dict[str, int] = {}

    def name(self, value: str, proposed: str) -> str | None:
        """The name for a value; None when there are enough variables."""
        if value not in self.by_value:
            if len(self.by_value) >= MAX_VARIABLES:
                return None
            self.by_value[value] = self._free(proposed)
        return self.by_value[value]

    def _free(self, proposed: str) -> str:
        name, number = proposed, self._next.get(proposed, 2)
        while name in self._taken:
            name, number = f"{proposed}_{number}", number + 1
        self._next[proposed] = number
        self._taken.add(name)
        return name


class _Draft:
    """One text and the spans of it that become variables."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._spans: list[Span] = []
        self._taken = bytearray(len(text))
        for found in PATTERN.finditer(text):
            self._mark(*found.span())

    def take_values(self, names: _Names) -> None:
        """Choose among the candidates and name them in the order in which they stand."""
        chosen = []
        for span in find_spans(self.text):
            if self._is_free(span.start, span.end):
                self._mark(span.start, span.end)
                chosen.append(span)
        for span in sorted(chosen):
            self._add(span, names)

    def take_repeats(self, names: _Names) -> None:
        """Find the values again where no pattern saw them. Figures alone may mean another thing."""
        for value in list(names.by_value):
            if 2 <= len(value) <= _REPEATED_LENGTH and any(map(str.isalpha, value)):
                self._take_repeats_of(value, names)

    def _take_repeats_of(self, value: str, names: _Names) -> None:
        start = self.text.find(value)
        while start >= 0:
            end = start + len(value)
            if self._is_free(start, end) and self._is_whole(start, end):
                self._mark(start, end)
                self._add(Span(start, end, ""), names)
            start = self.text.find(value, start + 1)

    def template(self) -> str:
        """The text with its spans replaced."""
        parts, at = [], 0
        for start, end, name in sorted(self._spans):
            parts += [self.text[at:start], f"{{{{{name}}}}}"]
            at = end
        return "".join([*parts, self.text[at:]])

    def _add(self, span: Span, names: _Names) -> None:
        name = names.name(self.text[span.start : span.end], span.name)
        if name is not None:
            self._spans.append(span._replace(name=name))

    def _mark(self, start: int, end: int) -> None:
        self._taken[start:end] = b"\1" * (end - start)

    def _is_free(self, start: int, end: int) -> bool:
        """Not empty, not taken, and beside no brace: other template readers may misread those."""
        around = self.text[max(0, start - 1) : start] + self.text[end : end + 1]
        return (
            start < end
            and not any(c in "{}" for c in around)
            and self._taken.find(1, start, end) < 0
        )

    def _is_whole(self, start: int, end: int) -> bool:
        text = self.text
        inside_before = start > 0 and _joined(text[start - 1], text[start])
        return not inside_before and not (end < len(text) and _joined(text[end - 1], text[end]))


def _joined(one: str, other: str) -> bool:
    """Whether two neighbours belong to one word. Scripts without spaces have no such border."""
    return all(c == "_" or (c.isalnum() and c < "\u2e80") for c in (one, other))
