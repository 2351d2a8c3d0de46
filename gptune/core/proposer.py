"""The proposer: ask and tell. It wires history, surrogate, trust region, criterion and search."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol

import msgspec
import torch
from linear_operator.utils.errors import NanError, NotPSDError
from torch import Tensor
from torch.linalg import LinAlgError  # type: ignore[attr-defined]

from gptune.configs import Search
from gptune.core import trust_region
from gptune.core.criteria import BY_NAME, Acquisition, HasClosedForm, bind
from gptune.core.fitting import Expired, Fit, Fitted, fit, never
from gptune.core.history import History
from gptune.core.likelihood import Form
from gptune.core.moves import Box, boxes, moves, prior_centers
from gptune.core.search import Hunt, is_free, maximise, sobol
from gptune.core.space import SearchSpace, cube
from gptune.core.surrogate import Surrogate
from gptune.core.trust_region import TrustRegionState
from gptune.errors import CriterionError
from gptune.records import Categorical, Observation, Point, Proposal, Request, Scalar, Slice, Told

SLICE_POINTS = 33  # of the posterior along a knob, kept for the report
DRAWS = 32  # places drawn by chance, of which the first that is not taken is proposed
LEAST_FITTED = 2  # observations; below, the surrogate knows nothing
NUMERICAL = (LinAlgError, NanError, NotPSDError)  # what no user can help


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
    learnt: int = 0
    region: TrustRegionState
    fitted: Fitted | None = None


class Proposer:
    """Proposes points by a Gaussian process inside a trust region.

    A proposal is a function of the seed, the decision's number, the recorded history and the
    fitted hyperparameters, and of nothing else; torch's global random state is left as it was.
    Where numbers fail (a covariance without a factor, a built-in criterion without a finite
    value), the proposal is a random point inside the trust region, tagged ``fallback``.

    Args:
        space: The moves of all knobs.
        config: The recipe's search section; ``configs.STUDY`` for trials that do not drift.
        acquisition: A criterion instead of ``config.acquisition``.
        randomness: Where chance comes from; ``Seeded(0)`` by default.
        expired: Says when the time for a proposal is up: it is then cut short, tagged
            ``deadline``, and need not repeat.
        allows: Says whether a point meets the user's constraints. Proposals do, where any of the
            places that are looked at does.

    Example:
        >>> from gptune.configs import STUDY
        >>> from gptune.records import Float
        >>> proposer = Proposer(SearchSpace({"x": Float(0.0, 1.0)}), STUDY)
        >>> for number in range(12):
        ...     point = proposer.ask(whole(proposer.space, number)).point
        ...     value = -((point["x"] - 0.3) ** 2)
        ...     proposer.tell(Told(observation=Observation(point=point, value=value)))
        >>> abs(point["x"] - 0.3) < 0.01
        True
    """

    def __init__(
        self,
        space: SearchSpace,
        config: Search,
        *,
        acquisition: Acquisition | None = None,
        randomness: Randomness | None = None,
        expired: Expired = never,
        allows: Callable[[Point], bool] | None = None,
    ) -> None:
        self.space = space
        self._allows = allows
        self._config = config
        self._acquisition = acquisition or BY_NAME[config.acquisition]
        self._randomness = randomness or Seeded(0)
        self._expired = expired
        self._history = History.of(space, config.max_observations)
        self._region = trust_region.start(config.trust_region)
        self._trials = self._learnt = 0
        self._fitted: Fitted | None = None

    def tell(self, told: Told) -> None:
        """Learn what was measured; a judged change also moves the trust region.

        Raises:
            SpaceError: If the point does not lie in the space; nothing is learnt then.
        """
        self._history = self._history.add(told.observation)
        if told.success is not None:
            config = self._config.trust_region
            self._region = trust_region.update(config, self._region, success=told.success)

    def ask(self, request: Request) -> Proposal:
        """Propose the next moves of some of the free knobs.

        Args:
            request: The point in force, which knobs are free, how far each may go, and what is
                being measured already.

        Raises:
            CriterionError: If the user's criterion gives nothing usable; what it raises itself
                passes through.
        """
        with _sheltered(self._randomness.seed(request.number)):
            proposal = self._propose(request)
        self._trials += 1
        return proposal

    def ask_many(self, request: Request, count: int) -> list[Proposal]:
        """Propose several points to measure at once: each knows of those before it.

        Args:
            request: As for `ask`; the proposals' numbers count up from its own.
            count: How many, q >= 1.
        """
        made: list[Proposal] = []
        for offset in range(count):
            waiting = tuple({**request.point, **proposal.point} for proposal in made)
            asked = msgspec.structs.replace(
                request,
                number=request.number + offset,
                pending=request.pending + waiting,
            )
            made.append(self.ask(asked))
        return made

    def learn(self, observations: Iterable[Observation]) -> None:
        """Learn what earlier runs measured; each of them stands for one start-up trial.

        Raises:
            SpaceError: If a point does not lie in the space.
        """
        for observation in observations:
            self._history = self._history.add(observation)
            self._trials += 1
            self._learnt += 1

    def inherit(self, other: "Proposer", values: Mapping[str, Scalar]) -> None:
        """Take over what a proposer over fewer knobs learnt.

        Args:
            other: The proposer before.
            values: The new knobs, and the moves that they had all along.
        """
        self._history = History.of(self.space, self._config.max_observations)
        for observation in other._history.observations:
            point = {**observation.point, **values}
            self._history = self._history.add(msgspec.structs.replace(observation, point=point))
        self._trials, self._learnt, self._region = other._trials, other._learnt, other._region

    def _propose(self, request: Request) -> Proposal:
        if self._heads_for_center() and (nearer := prior_centers(self.space, request)):
            return Proposal(point=nearer, source="startup")
        chance = self._chance()
        made = None if chance else self._fit()
        if made is None:
            return self._random(request, chance or ("deadline" if self._expired() else "fallback"))
        self._fitted = made.fitted
        try:
            return self._best(request, made.surrogate)
        except NUMERICAL:
            pass
        except CriterionError:
            if not isinstance(self._acquisition, HasClosedForm):
                raise  # the user's own mistake; a built-in one met numbers that it cannot bear
        return self._random(request, "fallback")

    def _heads_for_center(self) -> bool:
        """Say whether to move towards the prior center: at first, until a move is not kept."""
        own = self._trials - self._learnt  # what earlier runs tried says nothing of this one
        region, begins = self._region, own < max(1, self._config.startup_trials)
        shrunk = region.restarts > 0 or region.length < self._config.trust_region.initial
        return begins and not (region.failures or shrunk)

    def _chance(self) -> str | None:
        """Say why the next proposal is drawn by chance, as a source; ``None`` if it is not."""
        if self._config.algorithm == "random":
            return "random"
        return "startup" if self._trials < self._config.startup_trials else None

    def _fit(self) -> Fit | None:
        config = self._config
        data = self._history.data(config.decay)
        if len(data) < LEAST_FITTED:
            return None
        fits_half_life = config.decay.kind == "kernel" and config.decay.half_life == "auto"
        return fit(
            data,
            Form(kernel=config.kernel, fits_half_life=fits_half_life),
            self._fitted,
            count=self._history.count,
            warps=config.warp == "auto",
            expired=self._expired,
        )

    def _best(self, request: Request, surrogate: Surrogate) -> Proposal:
        with torch.no_grad():
            x = surrogate.data.x
            mean, _ = surrogate.marginal(x)
            pending = self._places(request)
            score = bind(self._acquisition, surrogate, mean.max(), pending)
            hunt = Hunt(
                space=self.space,
                boxes=boxes(self.space, request, self._trusted(request)),
                scale=surrogate.hyper.lengthscale,
                near=x[int(mean.argmax())],
                taken=self._taken(request, pending),
                allows=self._allowed if self._allows else None,
                seed=self._randomness.seed(request.number),
                expired=self._expired,
            )
            place, value = maximise(score, hunt)
            there, deviation = surrogate.marginal(place.unsqueeze(0))
            return Proposal(
                point=moves(self.space, request, place),
                source="deadline" if self._expired() else "gp",
                mean=float(there),
                deviation=float(deviation),
                criterion=value,
                hyperparameters=surrogate.describe(),
                slices=self._slices(surrogate, request) if request.slices else {},
            )

    def _random(self, request: Request, source: str) -> Proposal:
        startup = source == "startup"
        upward = request.upward if startup else ()
        sides = boxes(self.space, request, self._trusted(request), upward)
        low, high = sides[self._trials % len(sides)]
        unit = torch.rand(DRAWS, len(low), dtype=torch.float64, device="cpu")
        if startup:  # the next point of one scrambled sequence
            zero, one = torch.zeros_like(low), torch.ones_like(low)
            unit[0] = sobol(self._trials + 1, zero, one, self._randomness.seed(0))[-1]
        places = self.space.snap(low + unit * (high - low))
        free = is_free(places, self._taken(request, self._places(request)))
        if self._allows is not None:
            open_ = free & self._allowed(places)
            free = open_ if bool(open_.any()) else self._allowed(places)
        place = places[int(free.to(torch.int8).argmax())]  # the first, if all are taken
        return Proposal(point=moves(self.space, request, place), source=source)

    def _trusted(self, request: Request) -> Box:
        """Give the trust region around the point in force, shaped like the last surrogate."""
        center = self.space.encode(request.point)
        shape = torch.ones_like(center)
        if self._fitted is not None:
            shape = cube(list(self._fitted.theta[: len(center)])).exp()
        return trust_region.bounds(self._config.trust_region, self._region, center, shape)

    def _places(self, request: Request) -> Tensor:
        """Where the pending points are, shape ``(k, d)``."""
        places = [self.space.encode(point) for point in request.pending]
        return torch.stack(places) if places else cube([]).reshape(0, self.space.dimension)

    def _taken(self, request: Request, pending: Tensor) -> Tensor:
        """Places that are not proposed again, shape ``(t, d)``.

        Where nothing decays a point is measured once; where it does, old places may be asked
        anew, and only the point in force is none to move to.
        """
        if self._config.decay.kind == "none":
            return torch.cat([self._history.places, pending])
        return torch.cat([self.space.encode(request.point).unsqueeze(0), pending])

    def _allowed(self, places: Tensor) -> Tensor:
        """Say which places meet the constraints: bool, shape ``(m,)`` for ``(m, d)``."""
        assert self._allows is not None
        flags = [bool(self._allows(self.space.decode(place))) for place in places]
        return torch.tensor(flags, dtype=torch.bool, device="cpu")

    def _slices(self, surrogate: Surrogate, request: Request) -> dict[str, Slice]:
        center = self.space.encode(request.point)
        at = torch.linspace(0.0, 1.0, SLICE_POINTS, dtype=torch.float64, device="cpu")
        slices = {}
        for name, parameter, part in self.space.columns():
            if not isinstance(parameter, Categorical):
                x = center.repeat(SLICE_POINTS, 1)
                x[:, part] = at.unsqueeze(-1)
                mean, deviation = surrogate.marginal(x)
                slices[name] = Slice(
                    at=tuple(at.tolist()),
                    mean=tuple(mean.tolist()),
                    deviation=tuple(deviation.tolist()),
                )
        return slices

    @property
    def state(self) -> ProposerState:
        """All that the proposer remembers."""
        return ProposerState(
            observations=self._history.observations,
            count=self._history.count,
            trials=self._trials,
            learnt=self._learnt,
            region=self._region,
            fitted=self._fitted,
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
        kept = (read.observations, read.count)
        self._history = History.of(self.space, self._config.max_observations, *kept)
        self._trials, self._learnt = read.trials, read.learnt
        self._region, self._fitted = read.region, read.fitted


def whole(space: SearchSpace, number: int, pending: tuple[dict[str, Scalar], ...] = ()) -> Request:
    """Ask for a point anywhere in the space, as a study does: all parameters free, at once.

    Args:
        space: The search space.
        number: Of the trial; with the seed it fixes all randomness.
        pending: Points that are being measured.
    """
    numeric = {n: p for n, p in space.parameters.items() if not isinstance(p, Categorical)}
    middle = torch.full((space.dimension,), 0.5, dtype=torch.float64, device="cpu")
    return Request(
        number=number,
        point=space.decode(middle),
        limits={name: (p.low, p.high) for name, p in numeric.items()},
        free=tuple(space.parameters),
        joint=True,
        pending=pending,
        slices=False,
    )


@contextmanager
def _sheltered(seed: int) -> Iterator[None]:
    """Seed torch's chance on the CPU for a while, and leave no trace in the user's own.

    One thread, for on matrices this small waiting for others costs ten times more. The seeding is
    of the CPU's generator alone: ``torch.manual_seed`` would reset a GPU's as well.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    # Under a default device every single operation takes a detour through Python: 2 of 5 us.
    elsewhere = torch.get_default_device().type != "cpu"
    try:
        with (
            torch.device("cpu") if elsewhere else nullcontext(),
            torch.random.fork_rng(devices=[]),
            torch.inference_mode(mode=False),
        ):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(threads)
