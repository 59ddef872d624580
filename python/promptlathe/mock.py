"""A simulated service on a real socket, for demos and for tests.

It enforces the documented rules of the three endpoints, answers without any model, always the same
to the same request, and says in each answer that it is simulated. What it received is recorded, and
a script makes it fail in any way a test needs.

>>> from promptlathe import Client
>>> from promptlathe.mock import Server
>>> with Server() as server, Client("any key", base_url=server.url) as client:
...     server.script([{"status": 529}])  # the first attempt fails, the retry is answered
...     client.templatize("Translate hello to German")["variable_values"]
{'WORD_TO_TRANSLATE': 'hello', 'TARGET_LANGUAGE': 'German'}
"""

from promptlathe.server.command import serve_forever
from promptlathe.server.front import Server
from promptlathe.server.recorded import Request

__all__ = ["Request", "Server", "serve_forever"]
