"""What a Gaussian process makes of all trials of a study: its posterior mean over the space."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptune.configs import STUDY
from gptune.core.fitting import fit
from gptune.core.history import History
from gptune.core.likelihood import Form
from gptune.core.space import SearchSpace
from gptune.core.surrogate import Surrogate
from gptune.core.transforms import standardise, winsorise
from gptune.errors import StudyError
from gptune.records import Point, Scalar
from gptune.study.places import PROPOSED, Places, observations_of, searched
from gptune.study.records import TrialRecord
from gptune.study.samplers import View

LEAST = 4  # trials, of which a model says anything
CHUNK = 4096  # places that are asked for at once


@dataclass(frozen=True, slots=True)
class Landscape:
    """A fitted model of an objective.

    Attributes:
        space: What is searched, d coordinates.
        places: Where trials lie in it.
        surrogate: The model, of standardised values; larger is better.
        sign: What turns the objective into larger-is-better.
        center: Mean of the values that it was fitted to; larger is better.
        scale: Their deviation [units of the objective].
    """

    space: SearchSpace
    places: Places
    surrogate: Surrogate
    sign: float
    center: float
    scale: float

    def mean(self, x: Tensor) -> Tensor:
        """Give the posterior mean at places in the unit cube, ``(m, d)`` -> ``(m,)``, standardised.

        It is asked for in parts, so that many places cost little memory.
        """
        with torch.no_grad():
            return torch.cat([self.surrogate.marginal(part)[0] for part in torch.split(x, CHUNK)])

    def values(self, points: Sequence[Point]) -> list[float]:
        """Give the posterior mean at points of the study, in the objective's own units.

        Args:
            points: Name -> value; what one does not name lies in the middle of its range.
        """
        at = [self.space.encode(self.places.inner(point)) for point in points]
        found = self.sign * (self.center + self.scale * self.mean(torch.stack(at)))
        return [float(value) for value in found.tolist()]

    def point(self, trial: TrialRecord) -> dict[str, Scalar]:
        """Give all of a trial's place as values: what it did not have is as it was proposed."""
        return self.places.outer(self.places.inner(trial.params, trial.memory.get(PROPOSED)))


def landscape_of(view: View, caller: str) -> Landscape:
    """Fit a model to all trials of a study.

    Args:
        view: The study.
        caller: Who asks, for messages.

    Raises:
        StudyError: If there are too few trials, or nothing was searched.
    """
    parameters = searched(view.space)
    places = Places(view.space, parameters)
    observations = observations_of(view, places, STUDY.max_observations)
    if not parameters or len(observations) < LEAST:
        raise StudyError(
            f"{caller}: needs {LEAST} finished trials of at least one parameter, got "
            f"{len(observations)} of {len(parameters)}; run more"
        )
    space = SearchSpace(parameters)
    data = History.of(space, len(observations), observations, len(observations)).data(STUDY.decay)
    made = fit(data, Form(kernel=STUDY.kernel), None, count=len(observations))
    if made is None:
        raise StudyError(f"{caller}: no model fits these trials; run more")
    _, center, scale = standardise(winsorise(data.y))  # as `fit` prepares them
    return Landscape(space, places, made.surrogate, view.sign, float(center), float(scale))
