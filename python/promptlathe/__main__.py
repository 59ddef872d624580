"""``python -m promptlathe`` is the command ``promptlathe``."""

import sys

from promptlathe.cli import main

sys.exit(main())
