"""Reports: a run, several runs, or a study as one HTML file that needs nothing else.

    from pathlib import Path
    from gptune import report

    Path("report.html").write_text(report.run_report(Path("runs/first")))

No part of it loads torch.
"""

from gptune.report.run_pages import comparison, run_report
from gptune.report.study_page import study_report

__all__ = ["comparison", "run_report", "study_report"]
