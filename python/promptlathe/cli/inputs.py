"""What the user gives the command: an argument, a file or standard input, as text or JSON."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence

from .failures import BAD_INPUT, USAGE, CommandError

# The member that a document is about (it may also stand alone), then the others it may have.
_MEMBERS = {
    "generate": ("task", "target_model"),
    "improve": ("messages", "system", "feedback", "target_model"),
    "templatize": ("messages", "system"),
    "check": ("prompt",),
    "convert": ("prompt",),
}
# An answer of one verb can be the input of the next; these members of it say nothing there.
_OF_ANSWERS = ("usage", "variable_values")


def read_text(text: str | None, path: str | None) -> str:
    """Return the input as text, exactly as it was given.

    Parameters
    ----------
    text
        The argument; ``-`` and None mean standard input.
    path
        The value of ``--file``; ``-`` means standard input.

    Raises
    ------
    CommandError
        Both or neither were given, the file cannot be read, or its bytes are not UTF-8.
    """
    if text is not None and path is not None:
        raise CommandError(USAGE, "TEXT and --file were both given: give one of them")
    if path is not None and path != "-":
        return _decode(_read_file(path), path)
    if text is not None and text != "-":
        return text
    return _read_stdin(implied=text is None and path is None)


def _read_file(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CommandError(USAGE, f"{path}: cannot be read: {reason}") from error


def _read_stdin(*, implied: bool) -> str:
    """Read standard input; one that nobody asked for must have something in it."""
    wanted = "no input: give TEXT, --file PATH, or pipe it to standard input"
    if sys.stdin is None or (implied and sys.stdin.isatty()):
        raise CommandError(USAGE, wanted)
    data = sys.stdin.buffer.read()
    if implied and not data:
        raise CommandError(USAGE, wanted + " (standard input was empty)")
    return _decode(data, "standard input")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise CommandError(
            BAD_INPUT, f"{name}: byte {error.start} is not UTF-8: save the text as UTF-8"
        ) from error


class _Refused:
    """Stands in the parsed document where it cannot be accepted, until its place is known."""

    def __init__(self, reason: str, keys: Sequence[str] = ()) -> None:
        self.reason = reason
        self.keys = keys

    def places(self, path: tuple[str, ...]) -> Iterator[str]:
        """Yield the path of each fault: of the keys, else of the value itself."""
        for key in self.keys or (None,):
            yield ".".join(path if key is None else (*path, key))


def parse_json(text: str, name: str) -> object:
    """Return the JSON document in `text`.

    Parameters
    ----------
    text
        The document; a byte order mark before it is ignored, as RFC 8259 allows.
    name
        What the messages call it.

    Raises
    ------
    CommandError
        It is not JSON, repeats a key, or has a number that JSON does not know; with each place.
    """
    import json

    refused: list[_Refused] = []
    try:
        document = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=lambda pairs: _object(pairs, refused),
            parse_constant=lambda word: _refuse(refused, f"{word} is no JSON number"),
            parse_float=lambda digits: _number(digits, refused),
        )
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CommandError(BAD_INPUT, f"{name} is not JSON: {where}: {error.msg}") from error
    except RecursionError as error:
        raise CommandError(BAD_INPUT, f"{name} is nested too deeply") from error
    except ValueError as error:  # an integer of more digits than Python reads
        raise CommandError(BAD_INPUT, f"{name} has a number that is too long") from error
    if refused:
        places = [f"{path or name}: {reason}" for path, reason in _places(document)]
        raise CommandError(BAD_INPUT, f"{name} cannot be accepted:", *places)
    return document


def _refuse(refused: list[_Refused], reason: str, keys: Sequence[str] = ()) -> _Refused:
    mark = _Refused(reason, keys)
    refused.append(mark)
    return mark


def _object(pairs: list[tuple[str, object]], refused: list[_Refused]) -> object:
    members = dict(pairs)
    if len(members) == len(pairs):
        return members
    counts = Counter(key for key, _ in pairs)
    repeated = [key for key in members if counts[key] > 1]
    return _refuse(refused, "the key stands here more than once: keep one of them", repeated)


def _number(digits: str, refused: list[_Refused]) -> object:
    number = float(digits)
    if number in (float("inf"), float("-inf")):
        return _refuse(refused, f"{digits} is too large for a number")
    return number


def _places(document: object) -> Iterator[tuple[str, str]]:
    """Yield path and reason of what was refused, in the document's order, without recursion."""
    stack: list[tuple[tuple[str, ...], object]] = [((), document)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, _Refused):
            yield from ((place, value.reason) for place in value.places(path))
        elif isinstance(value, dict):
            stack.extend(((*path, key), value[key]) for key in reversed(value))
        elif isinstance(value, list):
            stack.extend(((*path, str(i)), value[i]) for i in range(len(value) - 1, -1, -1))


def arguments_of(verb: str, document: object) -> dict[str, object]:
    """Return a verb's arguments by name from its JSON document.

    Parameters
    ----------
    verb
        The command's name.
    document
        The verb's main argument alone, or an object that holds it and may hold the others.

    Raises
    ------
    CommandError
        The object lacks the main argument or has a member that the verb does not know.
    """
    main, *_ = members = _MEMBERS[verb]
    if not isinstance(document, dict):
        return {main: document}
    ignored = _OF_ANSWERS if main == "messages" else ()
    listed = ", ".join(members)
    faults = [
        f"{key}: unexpected_key: {verb} takes {listed}"
        for key, value in document.items()
        if key not in members and key not in ignored and value is not None
    ]
    if main not in document:
        faults.insert(0, f"{main}: missing: {verb} needs it")
    if faults:
        raise CommandError(BAD_INPUT, "the JSON input cannot be used:", *faults)
    return {key: document[key] for key in members if key in document}


def read_values(pairs: Sequence[tuple[str, str]], path: str | None) -> dict[str, str]:
    """Return the values for a template; those of the command line win over those of the file.

    Parameters
    ----------
    pairs
        Each ``--values``, split at its first ``=``.
    path
        The value of ``--values-file``: a JSON object of strings.

    Raises
    ------
    CommandError
        The file is no such object, or a name was given twice.
    """
    values = _values_file(path) if path is not None else {}
    given = dict(pairs)
    if len(given) < len(pairs):
        raise CommandError(USAGE, "--values gives a name twice: give each NAME once")
    return values | given


def _values_file(path: str) -> dict[str, str]:
    document = parse_json(read_text(None, path), path)
    if not isinstance(document, dict):
        raise CommandError(BAD_INPUT, f"{path}: wrong_type: the values must be a JSON object")
    faults = [
        f"values.{name}: wrong_type: a value must be a string"
        for name, value in document.items()
        if not isinstance(value, str)
    ]
    if faults:
        raise CommandError(BAD_INPUT, f"{path} cannot be used:", *faults)
    return document
