"""gptune as a study uses it: the whole space open, nothing decays."""

from typing import Any

from gptune import SearchSpace
from gptune.configs import STUDY, Search
from gptune.core.criteria import Acquisition
from gptune.core.proposer import Proposer, Seeded, whole
from gptune.records import Observation, Point, Told


class Gptune:
    """The proposer with the defaults of a study."""

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        config: Search = STUDY,
        acquisition: Acquisition | None = None,
    ) -> None:
        self._space, self._number = space, 0
        self.proposer = Proposer(space, config, acquisition=acquisition, randomness=Seeded(seed))

    def ask(self) -> dict[str, Any]:
        request = whole(self._space, self._number)
        self._number += 1
        return {**request.point, **self.proposer.ask(request).point}

    def tell(self, point: Point, loss: float) -> None:
        observation = Observation(point=dict(point), value=-loss)
        self.proposer.tell(Told(observation=observation))
