"""The three endpoints as an HTTP server, in front of a Messages API or of the simulated answers.

For programs that can only change a base URL. ``promptlathe serve`` is the command; `create_app`
makes the same as an ASGI application, to be run or mounted by a server of one's own. It needs the
extra ``serve``, and nothing else of promptlathe imports it.

>>> from promptlathe.serve import create_app
>>> app = create_app(simulated=True)
"""

from . import _extra

with _extra.needed():
    from .app import App, create_app

__all__ = ["App", "create_app"]
