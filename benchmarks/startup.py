"""CPU of `import promptlathe`, and of a script with one call, beyond a bare Python.

The aims are less than 20 ms and less than 60 ms. The service runs in another process; each figure is
the median of the runs of one process each, all kinds in turn. Ends with 1 when an aim is missed.
"""

from __future__ import annotations

import statistics
import sys

from support.measuring import cpu_of_process, describe, side_by_side, spread

AIMS = {"import promptlathe": 20.0, "import and one call": 60.0, "import, TLS begun": 60.0}

CALL = """
import promptlathe
with promptlathe.Client("a-key", base_url={url!r}) as client:
    print(client.generate("Summarize a letter")["messages"][0]["content"])
"""
# The service hangs up on TLS, which the client has set up by then, CA certificates and all.
TLS = """
import promptlathe
with promptlathe.Client("a-key", base_url={url!r}, max_retries=0) as client:
    try:
        client.generate("Summarize a letter")
    except promptlathe.APIConnectionError as error:
        print(error.phase)
"""


def main() -> int:
    from canned import Canned

    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with Canned() as server:
        scripts = {
            "bare Python": "pass",
            "import promptlathe": "import promptlathe",
            "import and one call": CALL.format(url=server.url("good-2000")),
            "import, TLS begun": TLS.format(url=server.url("").replace("http:", "https:")),
        }
        works = {
            name: lambda script=script: cpu_of_process([sys.executable, "-c", script])
            for name, script in scripts.items()
        }
        measured = side_by_side(works, rounds)
    describe()
    bare = statistics.median(measured["bare Python"])
    print(f"{'':26} CPU in ms, median of {rounds}           beyond bare    aim")
    missed = False
    for name, values in measured.items():
        beyond = 1000 * (statistics.median(values) - bare)
        aim = f"< {AIMS[name]:.0f}" if name in AIMS else ""
        missed = missed or beyond > AIMS.get(name, beyond)
        print(f"{name:26} {spread(values, 0.001):35} {beyond:9.2f}    {aim}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
