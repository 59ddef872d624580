"""The exception that each status becomes."""

from __future__ import annotations

import promptlathe
from promptlathe import APIStatusError

CLASSES: dict[int, type[APIStatusError]] = {
    400: promptlathe.BadRequestError,
    401: promptlathe.AuthenticationError,
    403: promptlathe.PermissionDeniedError,
    404: promptlathe.NotFoundError,
    409: promptlathe.ConflictError,
    413: promptlathe.RequestTooLargeError,
    422: promptlathe.UnprocessableEntityError,
    429: promptlathe.RateLimitError,
    529: promptlathe.OverloadedError,
}


def class_of(status: int) -> type[APIStatusError]:
    other = promptlathe.InternalServerError if status >= 500 else APIStatusError
    return CLASSES.get(status, other)
