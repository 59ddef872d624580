"""Word by word, what differs between two texts that have headings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import groupby
from typing import NamedTuple

__all__ = ["Piece", "Token", "pieces_of", "words_of"]

# A line, or a sentence of one: prompts often have paragraphs of a single line.
_SENTENCE = re.compile(r".+?(?:[.!?][ \t]+|[。！？]|\n|\Z)|\n")
# Han and kana are written without spaces: there, a word is one character.
_HAN = r"\u2e80-\u2fff\u3040-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# Everything but controls, space and punctuation; \w would leave out the vowel signs of Indic scripts.
_LETTER = rf"[^\x00-/:-@\[-^`{{-\xbf\s\u2000-\u206f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20{_HAN}]"
_TOKEN = re.compile(
    r"(?P<word>\{\{[ \t]*[A-Za-z_][A-Za-z0-9_]*[ \t]*\}\}"
    rf"|[{_HAN}]|{_LETTER}+(?:['’-]{_LETTER}+)*)|[^\S\n]+|.",
    re.DOTALL,
)

# Comparisons of SequenceMatcher for one level of its recursion. What is too common for it aligns
# nothing, so that a comparison ends in seconds whatever the texts.
_BUDGET = 300_000


class Token(NamedTuple):
    """A part of a text, or a heading."""

    heading: bool
    text: str


class Piece(NamedTuple):
    """A stretch that both texts have (``=``), or one of them: removed (``-``) or added (``+``)."""

    sign: str
    heading: bool
    text: str


# Whether two stretches are equal, and both.
_Stretch = tuple[bool, list[Token], list[Token]]


def words_of(text: str) -> list[str]:
    """Return the words and ``{{VARIABLES}}`` of a text, without space and punctuation."""
    return [found[0] for found in _TOKEN.finditer(text) if found.lastgroup]


def pieces_of(before: Iterable[Token], after: Iterable[Token]) -> list[Piece]:
    """Compare by sentences first, then by words where these differ.

    Parameters
    ----------
    before, after
        Headings, and the whole text below each.
    """
    signed = _signed(_split(_SENTENCE, before), _split(_SENTENCE, after))
    return [
        Piece(sign, heading, "".join(token.text for _, token in run))
        for (sign, heading, _), run in groupby(signed, _run_of)
    ]


def _run_of(item: tuple[str, Token]) -> tuple[str, bool, str]:
    """What joins neighbours: texts of the same sign; a heading stays by itself."""
    sign, token = item
    return sign, token.heading, token.text if token.heading else ""


def _split(pattern: re.Pattern[str], tokens: Iterable[Token]) -> list[Token]:
    parts = []
    for token in tokens:
        if token.heading:
            parts.append(token)
        else:
            parts += [Token(False, found[0]) for found in pattern.finditer(token.text)]
    return parts


def _signed(before: list[Token], after: list[Token]) -> Iterator[tuple[str, Token]]:
    for equal, old, new in _trimmed(before, after, _aligned):
        if equal:
            yield from (("=", token) for token in old)
            continue
        words = _trimmed(_split(_TOKEN, old), _split(_TOKEN, new), _aligned)
        for same, removed, added in words:
            yield from (("=" if same else "-", token) for token in removed)
            if not same:
                yield from (("+", token) for token in added)


def _trimmed(
    before: list[Token],
    after: list[Token],
    compared: Callable[[list[Token], list[Token]], Iterator[_Stretch]],
) -> Iterator[_Stretch]:
    """Yield what both begin with, what `compared` makes of the rest, and what both end with."""
    most = min(len(before), len(after))
    head = _common(before, after, most)
    tail = _common(before[::-1], after[::-1], most - head)
    yield True, before[:head], after[:head]
    yield from compared(before[head : len(before) - tail], after[head : len(after) - tail])
    yield True, before[len(before) - tail :], after[len(after) - tail :]


def _aligned(before: list[Token], after: list[Token]) -> Iterator[_Stretch]:
    """Align by what is fit for it; what lies between is equal at its ends at most."""
    unfit = _unfit(before, after)
    old = [index for index, token in enumerate(before) if token not in unfit]
    new = [index for index, token in enumerate(after) if token not in unfit]
    matcher = SequenceMatcher(
        None, [before[index] for index in old], [after[index] for index in new], autojunk=False
    )
    i = j = 0
    for x, y, size in matcher.get_matching_blocks():
        for at, to in zip(old[x : x + size], new[y : y + size], strict=True):
            yield from _trimmed(before[i:at], after[j:to], _replaced)
            yield True, before[at : at + 1], after[to : to + 1]
            i, j = at + 1, to + 1
    yield from _trimmed(before[i:], after[j:], _replaced)


def _replaced(before: list[Token], after: list[Token]) -> Iterator[_Stretch]:
    yield False, before, after


def _common(before: Sequence[Token], after: Sequence[Token], most: int) -> int:
    """Return how many tokens both begin with."""
    count = 0
    while count < most and before[count] == after[count]:
        count += 1
    return count


def _unfit(before: list[Token], after: list[Token]) -> set[Token]:
    """Return what nothing is aligned by: space, and what is so common that it would cost too much.

    One round of the matcher compares each token with all its equals on the other side.
    """
    old, new = Counter(before), Counter(after)
    unfit = {token for token in new if not token.text.strip()}
    budget = _BUDGET
    for cost, token in sorted((old[token] * new[token], token) for token in new.keys() - unfit):
        budget -= cost
        if budget < 0:
            unfit.add(token)
    return unfit
