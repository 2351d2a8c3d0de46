"""The safety ledger, and what the time went into."""

from dataclasses import dataclass

from gptune.report.run import Run
from gptune.run_directory.summary import seconds
from gptune.run_directory.words import words

MOST = 200  # incidents that are listed, the newest
LONGEST = 400  # letters of one


@dataclass(frozen=True, slots=True)
class Incident:
    """One line of the ledger."""

    decision: int
    step: int
    kind: str
    says: str


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the time.

    Attributes:
        name: What it went into.
        seconds: How much [s].
        part: Of all, in [0, 1].
        kind: The class of the style sheet.
    """

    name: str
    seconds: float
    part: float
    kind: str


def counts_of(run: Run) -> list[tuple[str, int]]:
    """Count what safety did, nothing included: a sceptic wants to see the zeros."""
    counts = run.summary.counts
    not_finite = sum(sample.metric is None for sample in run.samples)
    return [
        ("decisions", len(run.samples)),
        ("metrics that were no finite number", not_finite),
        ("decisions blocked", counts.get("blocked", 0)),
        ("changes undone", counts.get("rolled_back", 0)),
        ("changes that failed and were taken back", counts.get("failed", 0)),
        ("changes that could not be undone", counts.get("rollback_failed", 0)),
        ("times the training state was put back", counts.get("restored", 0)),
        ("pauses", counts.get("paused", 0)),
        ("knobs in quarantine", len(run.summary.quarantined)),
        ("commands refused", sum(_is_refused(line.event) for line in run.incidents)),
    ]


def incidents_of(run: Run) -> list[Incident]:
    """List what happened, in its order."""
    return [
        Incident(
            line.envelope.decision,
            line.envelope.step,
            str(line.event.__struct_config__.tag).replace("_", " "),
            words(line.event)[:LONGEST],
        )
        for line in run.incidents[-MOST:]
    ]


def time_of(run: Run) -> list[Share]:
    """Say what the time went into, as the times of the log's lines tell it."""
    spent = seconds(run.summary.times)
    tried = min(sum(trying.seconds for trying in run.tryings), spent)
    deciding = min(run.deciding, spent - tried)
    parts = [
        ("training, validation and all else", spent - tried - deciding, "rest"),
        ("trying rates", tried, "tried"),
        ("deciding and writing", deciding, "decided"),
    ]
    return [Share(name, s, s / spent if spent > 0 else 0.0, kind) for name, s, kind in parts]


def _is_refused(event: object) -> bool:
    return getattr(event, "accepted", True) is False
