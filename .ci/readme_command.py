"""Print the one command of the README that ends by running a given program."""

import re
import sys
from pathlib import Path

PROGRAM = sys.argv[1]
lines = Path("README.md").read_text().splitlines()
found = [line.strip() for line in lines if re.match(rf"\s*pip install .*&& {PROGRAM}\b", line)]
if len(found) != 1:
    sys.exit(f"README.md: needs exactly one command that runs {PROGRAM}, found {found}")
print(found[0])
