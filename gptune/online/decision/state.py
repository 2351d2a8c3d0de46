"""What the kernel knows, sees, plans and learns: frozen, plain data, the same on every rank."""

from msgspec import Struct

from gptune.configs import Knob, Mode, Recipe
from gptune.events import Event, KnobReading, Moment, Observed
from gptune.online.guard import GuardState
from gptune.online.segment import Track
from gptune.records import Action, Change, Proposal, Reading, Reason, Request, Scalar, Told
from gptune.safety.gate import SafetyState


class KernelConfig(Struct, frozen=True, kw_only=True):
    """What the user chose, joined with the knobs that are there."""

    recipe: Recipe
    knobs: dict[str, Knob]
    total_steps: int | None = None

    @property
    def sign(self) -> float:
        """What turns the raw objective into larger-is-better."""
        return -1.0 if self.recipe.objective.mode == "min" else 1.0

    def moment(self, decision: int, step: int) -> Moment:
        """Say when something happens, in the run's own counts."""
        phase = self.recipe.phase_at(step, self.total_steps)
        return Moment(decision=decision, step=step, phase=phase)


class Pending(Struct, frozen=True, kw_only=True):
    """The one unresolved change: a segment is open."""

    id: str
    changes: tuple[Change, ...]
    decision: int
    step: int
    reference: float  # the objective when it was applied, larger is better


class KernelState(Struct, frozen=True, kw_only=True):
    """All that the kernel remembers between two decisions.

    Attributes:
        decision: Number of the last decision.
        mode: What gptune may do now.
        point: The move in force of every knob.
        safety: What the gate remembers.
        pending: The open segment.
        objective: Newest undisturbed values of the objective, larger is better.
        backups: The same for the backup metrics, as reported.
        log_failed: The disk failed: tuning has stopped, training goes on.
        overrides: What an operator has set of the recipe: ``section.field`` -> value.
        guard: What the guard remembers.
        calibrated: Whether the calibration is over, or was given up.
        found: The families that a calibration has found the value of.
        wasted: Steps that calibrations threw away which were then stopped [steps].
    """

    decision: int = 0
    mode: Mode = Mode.ACTIVE
    point: dict[str, Scalar] = {}
    safety: SafetyState = SafetyState()
    pending: Pending | None = None
    objective: Track = Track()
    backups: dict[str, Track] = {}
    log_failed: bool = False
    overrides: dict[str, Scalar | None] = {}
    guard: GuardState = GuardState()
    calibrated: bool = False
    found: tuple[str, ...] = ()
    wasted: int = 0


class Seen(Struct, frozen=True, kw_only=True):
    """What one decision sees of the world.

    Attributes:
        step: Optimizer steps counted so far [steps].
        objective: The objective as reported.
        backups: The same for the backup metrics.
        anomaly: Whether one was reported.
        knobs: Where every knob stands.
        looking: Whether a look ahead has the learning rate in its hands.
        guarded: Whether there is a training state that could be put back.
        poisoned: Whether the training state of now is not finite.
        trains: Whether the newest training losses were finite, as far as they are known.
        blames_data: Whether the data, and not the learning rate, explains what is not finite.
        memory: What is remembered of the decisions before, where several processes must agree.
    """

    step: int
    objective: Reading
    backups: dict[str, Reading] = {}
    anomaly: bool = False
    knobs: dict[str, KnobReading] = {}
    looking: bool = False
    guarded: bool = False
    poisoned: bool = False
    trains: bool = False
    blames_data: bool = False
    memory: str = ""


class Resolution(Struct, frozen=True, kw_only=True):
    """How the open segment ends."""

    pending: Pending
    action: Action  # ACCEPTED or REJECTED
    reasons: tuple[Reason, ...]
    undo: bool  # False: the change stays in force
    strays: tuple[str, ...] = ()  # families that something else has written since: left alone
    probability: float | None = None


class Draft(Struct, frozen=True, kw_only=True):
    """A decision up to the question what to try next."""

    moment: Moment
    observed: Observed | None
    reasons: tuple[Reason, ...] = ()  # why nothing is asked
    blocked: bool = False
    resolution: Resolution | None = None
    notices: tuple[Event, ...] = ()
    told: Told | None = None
    request: Request | None = None
    reference: float = 0.0
    symptom: Reason | None = None  # what the guard sees


class Plan(Struct, frozen=True, kw_only=True):
    """A decision, ready to be carried out."""

    draft: Draft
    mode: Mode
    proposal: Proposal | None = None
    changes: tuple[Change, ...] = ()
    reasons: tuple[Reason, ...] = ()  # why the proposal was not taken
    message: str = ""
    tag: str = ""  # of a change that no search proposed: several may follow one decision

    @property
    def id(self) -> str:
        """The mutation's id: ``<decision>:<family>``, families joined by ``+``; then ``@<tag>``."""
        names = "+".join(change.family for change in self.changes)
        tag = f"@{self.tag}" if self.tag else ""
        return f"{self.draft.moment.decision}:{names}{tag}"


class Outcome(Struct, frozen=True, kw_only=True):
    """What came of carrying a plan out.

    Attributes:
        applied: The planned change is in force and was read back.
        failed: Why it is not, if it was tried.
        unrestored: Families that could not be put back.
        broken: Families whose actuator failed otherwise.
        restored: Something was put back.
        logged: Every line that had to be written was.
        messages: What went wrong, in words.
    """

    applied: bool = False
    failed: tuple[Reason, ...] = ()
    unrestored: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    restored: bool = False
    logged: bool = True
    messages: tuple[str, ...] = ()
