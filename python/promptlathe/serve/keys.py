"""The callers' keys, from a file."""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path

from promptlathe import ConfigurationError


class Keys:
    """The keys of a file: one on each line; empty lines and lines that begin with # are left out.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    ConfigurationError
        When it cannot be read, has no key or has a malformed one; with the line, never with the key.

    Notes
    -----
    Keys are held and compared as keyed digests, every one at each look, so that the time it takes
    tells nothing about them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._secret = os.urandom(32)
        self._digests: tuple[bytes, ...] = ()
        self.readable_by_all = False
        self.reload()

    def __len__(self) -> int:
        return len(self._digests)

    def reload(self) -> None:
        """Read the file again. When that fails the keys stay as they are."""
        try:
            with self.path.open(encoding="utf-8") as file:
                mode = os.fstat(file.fileno()).st_mode
                keys = _parse(file.read(), self.path)
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8"
            raise ConfigurationError(f"{self.path} cannot be read: {reason}") from None
        self.readable_by_all = bool(mode & stat.S_IROTH)
        self._digests = tuple(self._digest(key) for key in keys)

    def accepts(self, key: str) -> bool:
        """Whether a caller's key is one of them."""
        digest = self._digest(key)
        found = False
        for known in self._digests:
            found |= hmac.compare_digest(known, digest)
        return found

    def _digest(self, key: str) -> bytes:
        return hashlib.blake2b(key.encode(), key=self._secret, digest_size=32).digest()


def _parse(text: str, path: Path) -> list[str]:
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigurationError(
                f"{path}, line {number}: a key has printable ASCII characters and no blank"
            )
        keys.append(key)
    if not keys:
        raise ConfigurationError(f"{path} has no key; write one on each line")
    return list(dict.fromkeys(keys))
