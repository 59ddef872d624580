"""Finds what could vary in a text: literal values, each with a name that says what it is.

Every pattern has bounded repeats, so that the time is in proportion to the text.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from promptlathe.server import words


class Span(NamedTuple):
    """``text[start:end]`` is a value; `name` is the name proposed for it."""

    start: int
    end: int
    name: str


def find_spans(text: str) -> Iterator[Span]:
    """Yield the candidates, the surest kinds first. They may overlap."""
    for finder in (_objects, _addresses, _quotes, _labels, _languages, _dates, _numbers, _names):
        yield from finder(text)


# ---- The object of a verb -----------------------------------------------------------------------

_QUOTES = (
    r'"([^"\n]{1,400})"|“([^”\n]{1,400})”|„([^“”\n]{1,400})[“”]|«\s?([^»\n]{1,400}?)\s?»|'
    r"「([^」\n]{1,400})」|『([^』\n]{1,400})』|《([^》\n]{1,400})》|‘([^’\n]{1,400})’|"
    r"(?<!\w)'([^'\n]{1,400})'(?!\w)"
)
_QUOTED = re.compile(_QUOTES)
_ANY_VERB = "|".join(words.VERBS)
_VERB = re.compile(rf"(?<!\w)(?:{_ANY_VERB})(?!\w)(?:[ \t]?:)?[ \t]+(?=\S)")
_VERB_NAMES = [(re.compile(f"(?:{verb})"), names) for verb, names in words.VERBS.items()]
_LEAD = re.compile(
    r"(?:the |le |la |les |das |den |el )?(?:English |German |French )?"
    r"(?:words?|phrases?|sentences?|terms?|mots?|слово|фразу|предложение)[ \t:]+"
)
_OBJECT = re.compile(
    rf"[^\s.,;:!?。，；：！？][^.,;:!?\n。，；：！？]{{0,120}}?"
    rf"(?=[ \t]+(?:{words.STOPS})(?!\w)|[ \t]*[.,;:!?\n。，；：！？]|[ \t]*\Z)"
)
_CHINESE_OBJECT = re.compile(
    r"(?:把|将|將|翻[译譯])([^\s把将將翻“「『，。：]{1,40}?)(?:翻[译譯])?[成为為到]"
)
_REST = re.compile(r"[^.!?\n]{0,200}:\s+(?=\S)")
_OBJECT_WORDS = 12


def _objects(text: str) -> Iterator[Span]:
    rest_taken = False
    for verb in _VERB.finditer(text):
        names = next(names for pattern, names in _VERB_NAMES if pattern.match(verb.group()))
        lead = _LEAD.match(text, verb.end())
        start = lead.end() if lead else verb.end()
        if span := _object_at(text, start, names):
            yield span
        elif not rest_taken and (rest := _REST.match(text, start)):
            rest_taken = True
            yield Span(rest.end(), len(text.rstrip()), names[1])
    for found in _CHINESE_OBJECT.finditer(text):
        yield Span(*found.span(1), "TEXT_TO_TRANSLATE")


def _object_at(text: str, start: int, names: tuple[str, str]) -> Span | None:
    quoted = _QUOTED.match(text, start)
    if quoted:
        start, end = quoted.span(quoted.lastindex or 0)
    else:
        plain = _OBJECT.match(text, start)
        if not plain or plain.group().split()[0].lower() in words.GENERIC:
            return None
        inner = _QUOTED.search(text, *plain.span())
        start, end = inner.span(inner.lastindex or 0) if inner else plain.span()
        if _is_generic_noun(text[start:end]):
            return None
    count = len(text[start:end].split())
    return Span(start, end, names[count > 1]) if count <= _OBJECT_WORDS else None


_GENERIC_NOUN = re.compile(
    r"(?:a|an|the|some|un|une|le|la)\s+(?:\w+\s+)?(?:text|document|following|message|article|"
    r"passage|paragraph|code|file|list|input|texte|suivant)\w*\b.*",
    re.IGNORECASE | re.DOTALL,
)


def _is_generic_noun(text: str) -> bool:
    return _GENERIC_NOUN.fullmatch(text) is not None


# ---- Addresses, quotes, labels ------------------------------------------------------------------

_URL = re.compile(
    r"\b(?:https?://|www\.)[^\s<>\"'“”«»（）()。，]{1,400}[^\s<>\"'“”«»（）()。，.,;:!?]"
)
_EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b")
_STREET = re.compile(
    r"\b\d{1,5}\s(?:[A-Z]\w{1,20}\s){1,3}(?:Street|St|Avenue|Ave|Road|Rd|Lane|Drive|Boulevard|Square)\b"
    r"|\b\d{1,5},?\s(?:rue|avenue|boulevard|place)\s(?:[\w'’-]{1,20}\s){0,3}[A-ZÉ][\w'’-]{1,20}"
)
_PHONE = re.compile(r"(?<!\w)\+\d[\d ()-]{5,18}\d(?!\w)")


def _addresses(text: str) -> Iterator[Span]:
    kinds = (
        (_URL, "URL"),
        (_EMAIL, "EMAIL_ADDRESS"),
        (_STREET, "STREET_ADDRESS"),
        (_PHONE, "PHONE_NUMBER"),
    )
    for pattern, name in kinds:
        for found in pattern.finditer(text):
            yield Span(*found.span(), name)


_WORD_BEFORE = re.compile(r"(\w{1,20})[ \t:]{0,3}\Z")


def _quotes(text: str) -> Iterator[Span]:
    for found in _QUOTED.finditer(text):
        start, end = found.span(found.lastindex or 0)
        before = _WORD_BEFORE.search(text[max(0, found.start() - 24) : found.start()])
        noun = before.group(1).lower() if before else ""
        name = words.QUOTED_NOUNS.get(noun, "QUOTED_TEXT")
        if noun.endswith(words.TRANSLATE_BEFORE):
            name = "TEXT_TO_TRANSLATE"
        if text[start:end].strip():
            yield Span(start, end, name)


_LABEL = re.compile(
    r"^[ \t]*([^\W\d_][\w '’-]{0,30}?)[ \t]?[:：][ \t]*(\S[^\n]{0,80})$", re.MULTILINE
)


def _labels(text: str) -> Iterator[Span]:
    for found in _LABEL.finditer(text):
        label, value = found.group(1), found.group(2).rstrip()
        name = _label_name(label)
        is_sentence = value[-1] in ".!?。！？" and value.count(" ") > 2
        if not (is_sentence or label[0].islower() or name in words.PLAIN_LABELS or value[0] == "/"):
            yield Span(found.start(2), found.start(2) + len(value), name)


def _label_name(label: str) -> str:
    known = words.LABELS.get(label.lower().strip())
    if known:
        return known
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode("ascii")
    name = re.sub(r"[^A-Z0-9]+", "_", plain.upper()).strip("_")
    return name if name and name[0].isalpha() else "VALUE"


# ---- Languages ----------------------------------------------------------------------------------

_LANGUAGE = re.compile(rf"(?<!\w)(?:{words.LANGUAGES})(?!\w)|{words.LANGUAGES_CJK}")
_TO_LANGUAGE = re.compile(
    rf"[ \t]*(?:-?to-?|into|→|->|en|на|[译譯]?成|到)[ \t]*(?:{_LANGUAGE.pattern})"
)
_PROGRAMMING = re.compile(rf"(?<!\w)(?:{words.PROGRAMMING})(?!\w)")
_VERBS_TOO = frozenset(["Polish"])


def _languages(text: str) -> Iterator[Span]:
    for found in _LANGUAGE.finditer(text):
        name = _language_name(text, found)
        if name != "LANGUAGE" or found.group() not in _VERBS_TOO:
            yield Span(*found.span(), name)
    for found in _PROGRAMMING.finditer(text):
        if _ends_with_word(
            text[: found.start()][-20:].lower(), ("in", "to", "into", "using", "en", "на")
        ):
            yield Span(*found.span(), "PROGRAMMING_LANGUAGE")


def _language_name(text: str, found: re.Match[str]) -> str:
    before = text[max(0, found.start() - 20) : found.start()].lower()
    if _TO_LANGUAGE.match(text, found.end()) or _ends_with_word(before, words.SOURCE_BEFORE):
        return "SOURCE_LANGUAGE"
    return "TARGET_LANGUAGE" if _ends_with_word(before, words.TARGET_BEFORE) else "LANGUAGE"


def _ends_with_word(before: str, candidates: Iterable[str]) -> bool:
    before = before.rstrip(" \t")
    for word in candidates:
        if before.endswith(word):
            rest = before[: -len(word)]
            if not word[0].isascii() or not rest or not rest[-1].isalnum():
                return True
    return False


# ---- Dates and numbers --------------------------------------------------------------------------

_DAY = r"\d{1,2}(?:st|nd|rd|th|er|\.)?"
_DATE = re.compile(
    r"(?<![\w.-])\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})?)?(?!\w)"
    r"|(?<![\w./])\d{1,2}([./])\d{1,2}\1(?:\d{4}|\d{2})(?![\w/])"
    rf"|(?<!\w){_DAY}(?: of)? (?:{words.MONTHS})(?:,? \d{{4}})?(?!\w)"
    rf"|(?<!\w)(?:{words.MONTHS}) (?:{_DAY}(?:,? \d{{4}})?|\d{{4}})(?!\w)"
    r"|\d{2,4}年(?:\d{1,2}月(?:\d{1,2}[日号號])?)?|\d{1,2}月\d{1,2}[日号號]"
)
_TIME = re.compile(r"(?<![\w:.])\d{1,2}:\d{2}(?::\d{2})?(?: ?[ap]\.?m\b)?(?![\w:])")


def _dates(text: str) -> Iterator[Span]:
    for found in _DATE.finditer(text):
        yield Span(*found.span(), "DATE")
    for found in _TIME.finditer(text):
        yield Span(*found.span(), "TIME")


_FIGURE = r"\d{1,30}(?:[.,]\d{1,30}){0,9}"
_MEASURE = re.compile(
    rf"(?P<AMOUNT>[$€£¥₽] ?{_FIGURE}|(?<![A-Za-z0-9_.,-]){_FIGURE} ?[$€£¥₽元])"
    rf"|(?<![A-Za-z0-9_.,-])(?:(?P<PERCENTAGE>{_FIGURE})(?= ?[%％])"
    rf"|(?P<TEMPERATURE>-?{_FIGURE} ?°[CF]?|{_FIGURE}[CF])(?![A-Za-z0-9_])"
    rf"|(?P<NUMBER>{_FIGURE})(?![A-Za-z0-9_-]))"
)
_COUNTED = re.compile(r" ([a-z]{2,20}s)(?!\w)")
_NOT_COUNTED = frozenset(["is", "was", "as", "has", "plus", "this", "its", "does"])


def _numbers(text: str) -> Iterator[Span]:
    for found in _MEASURE.finditer(text):
        name = found.lastgroup or "NUMBER"
        if name == "NUMBER":
            if _is_list_mark(text, found):
                continue
            counted = _COUNTED.match(text, found.end())
            if counted and counted.group(1) not in _NOT_COUNTED:
                name = f"NUMBER_OF_{counted.group(1).upper()}"
        yield Span(*found.span(), name)


def _is_list_mark(text: str, found: re.Match[str]) -> bool:
    before = text[max(0, found.start() - 12) : found.start()].rpartition("\n")[2]
    return not before.strip(" \t#>*") and text[found.end() : found.end() + 1] in (
        ".",
        ")",
        "、",
        "．",
    )


# ---- Names --------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W\d_][\w'’-]{0,60}")
_SENTENCE_END = frozenset('.!?:\n"“«„(•-*#>…。！？：')
_TITLE_CASE_SHARE = 0.35
_ENOUGH_WORDS = 20


def _names(text: str) -> Iterator[Span]:
    """Capitalised words that do not begin a sentence, side by side as one name."""
    found = list(_WORD.finditer(text))
    marked = [_looks_like_name(text, word) for word in found]
    if len(found) >= _ENOUGH_WORDS and sum(marked) > _TITLE_CASE_SHARE * len(found):
        return  # a title, or a language that capitalises every noun
    index = 0
    while index < len(found):
        if not marked[index]:
            index += 1
            continue
        last = index
        while (
            last + 1 < len(found)
            and last - index < 4
            and marked[last + 1]
            and _adjacent(text, found, last)
        ):
            last += 1
        name = _kind_of_name(text, found, index, last)
        yield Span(found[index].start(), _without_genitive(found[last]), name)
        index = last + 1


def _without_genitive(word: re.Match[str]) -> int:
    return word.end() - 2 * word.group().endswith(("'s", "’s"))


def _adjacent(text: str, found: list[re.Match[str]], index: int) -> bool:
    return text[found[index].end() : found[index + 1].start()] == " "


def _looks_like_name(text: str, word: re.Match[str]) -> bool:
    value = word.group()
    if not value[0].isupper() or len(value) < 2 or value.isupper():
        return False
    if value in words.NO_NAMES or value in words.TITLES:
        return False
    before = text[max(0, word.start() - 3) : word.start()].rstrip(" \t")
    if before:
        return before[-1] not in _SENTENCE_END or _behind_title(text, word.start())
    return False


def _behind_title(text: str, start: int) -> bool:
    before = text[max(0, start - 12) : start].rstrip(" .")
    return before.rpartition(" ")[2].rpartition("\n")[2] in words.TITLES


def _kind_of_name(text: str, found: list[re.Match[str]], first: int, last: int) -> str:
    value = text[found[first].start() : found[last].end()]
    if value in words.WEEKDAYS:
        return "DAY"
    if value in words.MONTH_NAMES:
        return "MONTH"
    if value.rpartition(" ")[2] in words.COMPANY_ENDS:
        return "COMPANY_NAME"
    if _behind_title(text, found[first].start()):
        return "PERSON_NAME"
    before = found[first - 1].group() if first and _adjacent(text, found, first - 1) else ""
    return "PLACE" if before in words.PLACE_BEFORE else "NAME"
