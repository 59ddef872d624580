"""Text that goes to a terminal."""

import re

# Control characters but newline and tab: on a terminal they could rewrite what was shown.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")


def visible(text: str) -> str:
    """Return `text` with its control characters, newline and tab excepted, in hexadecimal."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
