"""Fail when pytest skipped a test that tests/allowed_skips.txt does not list.

Reads pytest's ``-rs`` report: ``SKIPPED [n] path:line: reason``. The list holds one path a line.
"""

import re
import sys
from pathlib import Path

allowed = {
    line.split("#")[0].strip() for line in Path("tests/allowed_skips.txt").read_text().splitlines()
} - {""}
report = Path(sys.argv[1]).read_text()
skipped = re.findall(r"^SKIPPED \[\d+\] ([^:]+)", report, flags=re.MULTILINE)
unknown = sorted(set(skipped) - allowed)
if unknown:
    sys.exit(f"skipped, but not listed in tests/allowed_skips.txt: {', '.join(unknown)}")
