"""``python -m gptune``."""

import sys

from gptune.cli import main

if __name__ == "__main__":
    sys.exit(main())
