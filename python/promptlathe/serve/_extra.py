"""What a program is told that has not installed the extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

_PACKAGES = frozenset(("starlette", "uvicorn", "prometheus_client", "httptools", "uvloop"))


@contextmanager
def needed() -> Iterator[None]:
    """Turn an import that fails for want of the extra into an ImportError that names it."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _PACKAGES:
            raise
        raise ImportError(
            f"{error.name} is not installed, which promptlathe.serve needs: "
            "pip install 'promptlathe[serve]'",
            name=error.name,
        ) from error
