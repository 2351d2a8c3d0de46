"""The proposer: ask and tell. It wires history, surrogate, trust region, criterion and search."""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import msgspec
import torch
from torch import Tensor

from gptune.configs import Search
from gptune.core import trust_region
from gptune.core.criteria import BY_NAME, Acquisition
from gptune.core.history import History
from gptune.core.likelihood import Hyperparameters
from gptune.core.search import maximise, sobol
from gptune.core.space import SearchSpace, cube
from gptune.core.surrogate import Surrogate, fit
from gptune.core.trust_region import TrustRegionState
from gptune.records import Categorical, Integer, Observation, Proposal, Request, Scalar, Slice, Told

SLICE_POINTS = 33  # of the posterior along a knob, kept for the report
Box = tuple[Tensor, Tensor]  # lower and upper corner, each of shape (d,)
LEAST_FITTED = 2  # observations; below, the surrogate knows nothing


class Randomness(Protocol):
    """Where chance comes from: a seed for each decision, and for nothing else."""

    def seed(self, number: int) -> int:
        """Give the seed of one decision, the same each time it is asked."""
        ...


class Seeded:
    """The default: a fixed mixture of the run's seed and the decision's number."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def seed(self, number: int) -> int:
        """Give the seed of one decision."""
        # A multiplication by an odd constant and a shift spread neighbours apart (splitmix64).
        mixed = (self._seed * 0x9E3779B97F4A7C15 + number + 1) * 0xBF58476D1CE4E5B9
        return (mixed ^ (mixed >> 31)) % 2**31


class ProposerState(msgspec.Struct, frozen=True, kw_only=True):
    """All that a proposer remembers, as plain data."""

    observations: tuple[Observation, ...] = ()
    count: int = 0
    trials: int = 0
    region: TrustRegionState
    lengthscale: tuple[float, ...] = ()
    noise: float = 0.0


class Proposer:
    """Proposes points by a Gaussian process inside a trust region.

    A proposal is a function of the seed, the decision's number, the recorded history and the
    fitted hyperparameters, and of nothing else; torch's global random state is left as it was.

    Args:
        space: The moves of all knobs.
        config: The recipe's search section.
        acquisition: A criterion instead of ``config.acquisition``.
        randomness: Where chance comes from; ``Seeded(0)`` by default.
    """

    def __init__(
        self,
        space: SearchSpace,
        config: Search,
        *,
        acquisition: Acquisition | None = None,
        randomness: Randomness | None = None,
    ) -> None:
        self._space = space
        self._config = config
        self._acquisition = acquisition or BY_NAME[config.acquisition]
        self._randomness = randomness or Seeded(0)
        self._history = History(config.max_observations)
        self._region = trust_region.start(config.trust_region)
        self._trials = 0
        self._last: Hyperparameters | None = None

    def tell(self, told: Told) -> None:
        """Learn what was measured; a judged change also moves the trust region.

        Raises:
            SpaceError: If the point does not lie in the space; nothing is learnt then.
        """
        self._space.encode(told.observation.point)
        self._history = self._history.add(told.observation)
        if told.success is not None:
            config = self._config.trust_region
            self._region = trust_region.update(config, self._region, success=told.success)

    def ask(self, request: Request) -> Proposal:
        """Propose the next moves of some of the free knobs.

        Args:
            request: The point in force, which knobs are free, and how far each may go.

        Raises:
            CriterionError: If the criterion gives nothing usable; what it raises itself passes
                through.
        """
        with _sheltered(self._randomness.seed(request.number)):
            proposal = self._propose(request)
        self._trials += 1
        return proposal

    def inherit(self, other: "Proposer", values: Mapping[str, Scalar]) -> None:
        """Take over what a proposer over fewer knobs learnt.

        Args:
            other: The proposer before.
            values: The new knobs, and the moves that they had all along.
        """
        for observation in other._history.observations:
            point = {**observation.point, **values}
            self._history = self._history.add(msgspec.structs.replace(observation, point=point))
        self._trials, self._region = other._trials, other._region

    def _propose(self, request: Request) -> Proposal:
        boxes = self._boxes(request)
        if self._trials == 0 and (first := self._first(request)):
            return Proposal(point=first, source="startup")
        chance = self._chance()
        if chance is not None:
            boxes = self._boxes(request, request.upward if chance == "startup" else ())
            return self._random(request, boxes, chance)
        data = self._history.data(self._space, self._config.decay)
        surrogate = fit(data, self._last) if data.y.numel() >= LEAST_FITTED else None
        if surrogate is None:
            return self._random(request, boxes, "fallback")
        self._last = surrogate.hyper
        return self._best(request, boxes, surrogate)

    def _chance(self) -> str | None:
        """Say why the next proposal is drawn by chance, as a source; ``None`` if it is not."""
        if self._config.algorithm == "random":
            return "random"
        return "startup" if self._trials < self._config.startup_trials else None

    def _best(self, request: Request, boxes: list[Box], surrogate: Surrogate) -> Proposal:
        seed = self._randomness.seed(request.number)
        with torch.no_grad():
            best = surrogate.posterior(surrogate.data.x.unsqueeze(-2)).mean.max()
            criterion = self._acquisition(surrogate, best)
            place, value = maximise(criterion, boxes, self._space.snap, seed)
            posterior = surrogate.posterior(place.unsqueeze(0))
            return Proposal(
                point=self._moves(request, place),
                source="gp",
                mean=float(posterior.mean),
                deviation=float(posterior.variance.sqrt()),
                criterion=value,
                hyperparameters=surrogate.describe(),
                slices=self._slices(surrogate, request),
            )

    def _random(self, request: Request, boxes: list[Box], source: str) -> Proposal:
        low, high = boxes[self._trials % len(boxes)]
        if source == "startup":  # the next point of one scrambled sequence
            zero, one = torch.zeros_like(low), torch.ones_like(low)
            unit = sobol(self._trials + 1, zero, one, self._randomness.seed(0))[-1]
        else:
            unit = torch.rand_like(low)
        place = self._space.snap((low + unit * (high - low)).unsqueeze(0))[0]
        return Proposal(point=self._moves(request, place), source=source)

    def _boxes(self, request: Request, upward: tuple[str, ...] = ()) -> list[Box]:
        """Give the boxes to search: one for all free knobs together, or one for each."""
        center = self._space.encode(request.point)
        region = self._config.trust_region
        low, high = trust_region.bounds(region, self._region, center)
        held = (center.clone(), center.clone())
        boxes = [(held[0].clone(), held[1].clone()) for _ in request.free]
        joint = held
        for name, parameter, part in self._space.columns():
            if name not in request.free:
                continue
            if isinstance(parameter, Categorical):
                side = (torch.zeros_like(center[part]), torch.ones_like(center[part]))
            else:
                ends = [self._space.place(name, end) for end in request.limits[name]]
                floor = center[part] if name in upward else low[part].clamp(*ends)
                side = (floor, high[part].clamp(*ends))
            for box in (boxes[request.free.index(name)], joint):
                box[0][part], box[1][part] = side
        return [joint] if request.joint else boxes

    def _moves(self, request: Request, place: Tensor) -> dict[str, Scalar]:
        """Read off the moves of the knobs that are not where they were."""
        center, moves = self._space.encode(request.point), self._space.decode(place)
        changed = {}
        for name, _, part in self._space.columns():
            if name in request.free and not torch.equal(place[part], center[part]):
                move = moves[name]
                if name in request.limits:  # exp(log(x)) may end one rounding error outside
                    move = self._within(name, float(move), request)
                changed[name] = move
        stay = request.free[0]
        return changed or {stay: request.point[stay]}

    def _first(self, request: Request) -> dict[str, Scalar] | None:
        """Give the prior centers where they differ from the point in force, within the limits."""
        moves: dict[str, Scalar] = {}
        for name in request.free:
            center = request.centers.get(name)
            if center is not None and name in request.limits:
                move = self._within(name, center, request)
                moves.update({name: move} if move != request.point[name] else {})
        chosen = list(moves) if request.joint else list(moves)[:1]
        return {name: moves[name] for name in chosen} or None

    def _within(self, name: str, move: float, request: Request) -> float:
        """Move a number inside its limits; whole numbers stay whole."""
        low, high = request.limits[name]
        if isinstance(self._space.parameters[name], Integer):
            return min(math.floor(high), max(math.ceil(low), round(move)))
        return min(high, max(low, move))

    def _slices(self, surrogate: Surrogate, request: Request) -> dict[str, Slice]:
        center = self._space.encode(request.point)
        at = torch.linspace(0.0, 1.0, SLICE_POINTS, dtype=torch.float64, device="cpu")
        slices = {}
        for name, parameter, part in self._space.columns():
            if not isinstance(parameter, Categorical):
                x = center.repeat(SLICE_POINTS, 1)
                x[:, part] = at.unsqueeze(-1)
                posterior = surrogate.posterior(x.unsqueeze(-2))
                mean, deviation = posterior.mean.flatten(), posterior.variance.flatten().sqrt()
                slices[name] = Slice(
                    at=tuple(at.tolist()),
                    mean=tuple(mean.tolist()),
                    deviation=tuple(deviation.tolist()),
                )
        return slices

    @property
    def state(self) -> ProposerState:
        """All that the proposer remembers."""
        last = self._last
        return ProposerState(
            observations=self._history.observations,
            count=self._history.count,
            trials=self._trials,
            region=self._region,
            lengthscale=tuple(last.lengthscale.tolist()) if last else (),
            noise=float(last.noise) if last else 0.0,
        )

    def state_dict(self) -> dict[str, Any]:
        """Give all that the proposer remembers, as plain data."""
        plain: dict[str, Any] = msgspec.to_builtins(self.state)
        return plain

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take what `state_dict` gave; proposals go on as if never interrupted.

        Raises:
            msgspec.ValidationError: If ``state`` is not what `state_dict` gave.
        """
        self.resume(msgspec.convert(state, ProposerState))

    def resume(self, read: ProposerState) -> None:
        """Go on from `state`."""
        self._history = History(self._config.max_observations, read.observations, read.count)
        self._trials, self._region = read.trials, read.region
        known = bool(read.lengthscale)
        lengthscale, noise = cube(list(read.lengthscale)), cube(read.noise)
        self._last = Hyperparameters(lengthscale, noise) if known else None


@contextmanager
def _sheltered(seed: int) -> Iterator[None]:
    """Seed torch's chance on the CPU for a while, and leave no trace in the user's own.

    One thread, for on matrices this small waiting for others costs ten times more. The seeding is
    of the CPU's generator alone: ``torch.manual_seed`` would reset a GPU's as well.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            torch.device("cpu"),
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(mode=False),
        ):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
