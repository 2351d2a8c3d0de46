"""The rivals, each as its own documentation would have one use it: the real packages."""

import importlib
import math
import random
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gptune import Categorical, Float, SearchSpace
from gptune.records import Point

STARTUP = 8  # Sobol points of the rivals that have no start-up of their own; gptune's number


class Method(Protocol):
    """A tuner over one space: asked for a point, told its loss."""

    def ask(self) -> dict[str, Any]:
        """Give the next point."""
        ...

    def tell(self, point: Point, loss: float) -> None:
        """Learn a point's loss."""
        ...


def rival(package: str) -> ModuleType:
    """Import a rival package, or say how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise SystemExit(
            f"{package} is not installed; "
            "pip install -c .ci/constraints.txt -r examples/benchmarks/requirements.txt"
        ) from error


def version_of(distribution: str) -> str:
    """Give an installed version, or nothing."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


class RandomSearch:
    """Uniform in the unit cube."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._chance = space, random.Random(seed)

    def ask(self) -> dict[str, Any]:
        unit = [self._chance.random() for _ in range(self._space.dimension)]
        return self._space.decode(torch.tensor(unit, dtype=torch.float64))

    def tell(self, point: Point, loss: float) -> None:
        pass


class StockBotorch:
    """The loop of BoTorch's own introduction, with its defaults: whole numbers are rounded."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space, self._seed = space, seed
        self._x = torch.zeros(0, space.dimension, dtype=torch.float64)
        self._y = torch.zeros(0, 1, dtype=torch.float64)
        torch.manual_seed(seed)
        self._sobol = SobolEngine(space.dimension, scramble=True, seed=seed)  # type: ignore[no-untyped-call]

    def ask(self) -> dict[str, Any]:
        if len(self._x) < self.startup:
            return self._space.decode(self._sobol.draw(1, dtype=torch.float64)[0])
        return self._space.decode(self.best())

    @property
    def startup(self) -> int:
        """How many Sobol points come first."""
        return STARTUP

    def best(self) -> Tensor:
        """Fit, and maximise log expected improvement."""
        from botorch.acquisition import LogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.optim import optimize_acqf
        from gpytorch.mlls import ExactMarginalLogLikelihood

        model = SingleTaskGP(self._x, self._y)
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        place, _ = optimize_acqf(
            LogExpectedImprovement(model, best_f=self._y.max()),
            bounds=torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, self._x.shape[1]),
            q=1,
            num_restarts=10,
            raw_samples=512,
        )
        return place[0]

    def tell(self, point: Point, loss: float) -> None:
        self._x = torch.cat([self._x, self._space.encode(point).unsqueeze(0)])
        self._y = torch.cat([self._y, torch.tensor([[-loss]], dtype=torch.float64)])


class Turbo1(StockBotorch):
    """TuRBO-1 from BoTorch's building blocks, as its tutorial has it, one point at a time.

    Source:
        Eriksson et al. (2019), arXiv:1910.01739.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        super().__init__(space, seed)
        self._restart()

    @property
    def startup(self) -> int:
        return self._since + 2 * self._space.dimension

    def _restart(self) -> None:
        self._length, self._won, self._lost, self._since = 0.8, 0, 0, len(self._x)

    def best(self) -> Tensor:
        import gpytorch
        from botorch.exceptions import ModelFittingError
        from botorch.fit import fit_gpytorch_mll
        from botorch.sampling.pathwise import draw_matheron_paths
        from gpytorch.mlls import ExactMarginalLogLikelihood

        x, y = self._x[self._since :], self._y[self._since :]
        z = (y - y.mean()) / y.std().clamp_min(1e-12)
        model = self._model(x, z)
        with gpytorch.settings.max_cholesky_size(float("inf")):
            with suppress(ModelFittingError):  # where all its attempts fail, the last one serves
                fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            candidates = self._candidates(model, x[z.argmax()])
            with torch.no_grad():  # a draw of the posterior; jointly at 2000 places takes minutes
                model.eval()
                drawn = draw_matheron_paths(model, torch.Size([1]))(candidates)
        return candidates[int(drawn.flatten().argmax())]

    def _model(self, x: Tensor, z: Tensor) -> Any:
        from botorch.models import SingleTaskGP
        from gpytorch.constraints import Interval
        from gpytorch.kernels import MaternKernel, ScaleKernel
        from gpytorch.likelihoods import GaussianLikelihood

        lengths = Interval(0.005, 4.0)
        kernel = MaternKernel(nu=2.5, ard_num_dims=x.shape[1], lengthscale_constraint=lengths)
        likelihood = GaussianLikelihood(noise_constraint=Interval(1e-8, 1e-3))
        return SingleTaskGP(x, z, covar_module=ScaleKernel(kernel), likelihood=likelihood)

    def _candidates(self, model: Any, center: Tensor) -> Tensor:
        """Sobol points of the trust region, most of their coordinates left at its center."""
        d = len(center)
        weights = model.covar_module.base_kernel.lengthscale.squeeze().detach().reshape(-1)
        weights = weights / weights.mean()
        weights = weights / weights.prod().pow(1.0 / d)
        low = (center - weights * self._length / 2).clamp(0, 1)
        high = (center + weights * self._length / 2).clamp(0, 1)
        count = min(5000, max(2000, 200 * d))
        engine = SobolEngine(d, scramble=True, seed=self._seed * 1000 + len(self._x))  # type: ignore[no-untyped-call]
        spread = low + (high - low) * engine.draw(count, dtype=torch.float64)
        moved = torch.rand(count, d) <= min(20.0 / d, 1.0)
        stuck = (~moved.any(1)).nonzero().flatten()
        moved[stuck, torch.randint(0, d, (len(stuck),))] = True
        return torch.where(moved, spread, center)

    def tell(self, point: Point, loss: float) -> None:
        known = self._y[self._since :]
        counted = len(known) >= 2 * self._space.dimension
        super().tell(point, loss)
        if not counted:
            return
        best = float(known.max())
        won = -loss > best + 1e-3 * abs(best)
        self._won, self._lost = (self._won + 1, 0) if won else (0, self._lost + 1)
        if self._won >= 10:
            self._length, self._won = min(1.6, 2 * self._length), 0
        elif self._lost >= math.ceil(max(4.0, float(self._space.dimension))):
            self._length, self._lost = self._length / 2, 0
        if self._length < 0.5**7:
            self._restart()


class Optuna:
    """Optuna through ask and tell, with one of its samplers at its defaults."""

    def __init__(self, space: SearchSpace, sampler: Callable[[ModuleType], Any]) -> None:
        optuna = rival("optuna")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._study = optuna.create_study(sampler=sampler(optuna))
        self._kinds = {name: _distribution(optuna, p) for name, p in space.parameters.items()}
        self._trial: Any = None

    def ask(self) -> dict[str, Any]:
        self._trial = self._study.ask(self._kinds)
        return dict(self._trial.params)

    def tell(self, point: Point, loss: float) -> None:
        if self._trial is not None and self._trial.params == dict(point):
            self._study.tell(self._trial, loss)
            self._trial = None
            return
        made = rival("optuna").trial.create_trial(
            params=dict(point), distributions=self._kinds, value=loss
        )
        self._study.add_trial(made)


def _distribution(optuna: ModuleType, parameter: Any) -> Any:
    kinds = optuna.distributions
    if isinstance(parameter, Categorical):
        return kinds.CategoricalDistribution(parameter.choices)
    kind = kinds.FloatDistribution if isinstance(parameter, Float) else kinds.IntDistribution
    return kind(parameter.low, parameter.high, log=parameter.log)


class Ax:
    """Ax's client with its defaults; in the latencies only."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        api = rival("ax.api.client")
        config = rival("ax.api.configs").RangeParameterConfig
        self._client = api.Client(random_seed=seed)
        self._client.configure_experiment(
            parameters=[
                config(name=name, parameter_type="float", bounds=(p.low, p.high))
                for name, p in space.parameters.items()
                if isinstance(p, Float)
            ]
        )
        self._client.configure_optimization(objective="-loss")
        self._trial: int | None = None

    def ask(self) -> dict[str, Any]:
        ((self._trial, point),) = self._client.get_next_trials(max_trials=1).items()
        return dict(point)

    def tell(self, point: Point, loss: float) -> None:
        trial = self._trial
        if trial is None:
            trial = self._client.attach_trial(parameters=dict(point))
        self._client.complete_trial(trial_index=trial, raw_data={"loss": loss})
        self._trial = None


RIVALS: dict[str, tuple[str, Callable[[SearchSpace, int], Method]]] = {
    "random": ("", RandomSearch),
    "stock_botorch": (version_of("botorch"), StockBotorch),
    "turbo1": (version_of("botorch"), Turbo1),
    "optuna_gp": (
        version_of("optuna"),
        lambda space, seed: Optuna(space, lambda o: o.samplers.GPSampler(seed=seed)),
    ),
    "optuna_tpe": (
        version_of("optuna"),
        lambda space, seed: Optuna(space, lambda o: o.samplers.TPESampler(seed=seed)),
    ),
}
