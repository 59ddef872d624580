"""Subclasses of the built-in types whose every method fails while the library reads them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Needed to make an object at all, or read by the interpreter itself.
_LEFT_ALONE = {
    "__new__",
    "__init__",
    "__init_subclass__",
    "__subclasshook__",
    "__class__",
    "__doc__",
}
_armed = False


class MethodWasCalled(BaseException):
    """A method of a subclass ran. No Exception, so that nothing swallows it by the way."""


@contextmanager
def armed() -> Iterator[None]:
    """Within the block every method of a hostile object raises MethodWasCalled."""
    global _armed
    _armed = True
    try:
        yield
    finally:
        _armed = False


def _trap(base: type, name: str) -> Callable[..., Any]:
    inherited = getattr(base, name)

    def method(*args: Any, **named: Any) -> Any:
        if _armed:
            raise MethodWasCalled(f"{base.__name__}.{name}")
        return inherited(*args, **named)

    return method


def _lie(self: object) -> type:
    if _armed:
        raise MethodWasCalled("__class__")
    return type(self)


def _hostile(base: type) -> Any:
    names = [name for name in dir(base) if callable(getattr(base, name))]
    traps = {name: _trap(base, name) for name in names if name not in _LEFT_ALONE}
    return type(f"Hostile{base.__name__.title()}", (base,), {**traps, "__class__": property(_lie)})


HostileStr = _hostile(str)
HostileDict = _hostile(dict)
HostileList = _hostile(list)
HostileTuple = _hostile(tuple)
HostileInt = _hostile(int)
HostileObject = _hostile(object)
