"""What gptune is compared with: schedules, optimizers without a schedule, and online tuners.

Each takes part in the same loop. A rival whose package is not installed is left out, with a word.
"""

import contextlib
import copy
import io
import logging
import math
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from examples.benchmarks.online.loop import Costs, Hooks, Method, Start, plain

FIRST_WARMUP = 0.05  # of the run, for those who know no schedule, as their authors advise
DECADES = 1.0  # what the online tuners may choose from, around the user's rate
STAGE, CANDIDATES = 0.1, 10  # AutoLRS: a stage as a fraction of the run; rates tried before one


def plateau(start: Start) -> Hooks:
    """Torch's ReduceLROnPlateau: half the rate after four evaluations without a gain."""
    optimizer = start.problem.optimizer(start.rate)
    scheduler = ReduceLROnPlateau(optimizer, factor=0.5, patience=3)

    def report() -> None:
        scheduler.step(float(start.problem.validation_losses().mean()))

    return Hooks(optimizer=optimizer, report=report)


def schedule_free(start: Start) -> Hooks:
    """Schedule-free SGD or AdamW (Defazio et al., 2024), with its warmup."""
    import schedulefree

    task, parameters = start.setting.task, start.problem.model.parameters()
    common = {
        "lr": start.rate,
        "weight_decay": task.weight_decay,
        "warmup_steps": int(FIRST_WARMUP * task.steps),
    }
    if task.optimizer in ("sgd", "nesterov"):
        optimizer: Any = schedulefree.SGDScheduleFree(parameters, momentum=0.9, **common)
    else:
        optimizer = schedulefree.AdamWScheduleFree(parameters, betas=(0.9, 0.99), **common)
    optimizer.train()

    @contextmanager
    def weights() -> Iterator[None]:
        optimizer.eval()
        yield
        optimizer.train()

    return Hooks(optimizer=optimizer, weights=weights)


def prodigy(start: Start) -> Hooks:
    """Prodigy (Mishchenko and Defazio, 2024), which sets the rate itself, under the schedule."""
    from prodigyopt import Prodigy

    parameters, decay = start.problem.model.parameters(), start.setting.task.weight_decay
    with _silence():
        optimizer = Prodigy(parameters, lr=1.0, weight_decay=decay)
    return Hooks(optimizer=optimizer, scheduler=start.scheduler(optimizer))


def autotunenet(start: Start) -> Hooks:
    """AutoTuneNet from PyPI, as its page says: one suggestion an evaluation, its own defaults."""
    with contextlib.chdir(tempfile.gettempdir()):  # it makes a folder of logs where it is imported
        from autotunenet.adapters.pytorch.adapter import PyTorchHyperParameterAdapter
        from autotunenet.bayesian_optimizer import BayesianOptimizer
        from autotunenet.parameters import ParameterSpace

    optimizer = start.problem.optimizer(start.rate)
    reach = 10**DECADES
    space = ParameterSpace({"lr": (start.rate / reach, start.rate * reach)})
    with _silence():
        tuner = BayesianOptimizer(space, seed=start.setting.seed)
        adapter = PyTorchHyperParameterAdapter(optimizer, tuner)

    def report() -> None:
        loss = float(start.problem.validation_losses().mean())
        with _silence():
            adapter.on_epoch_end(-loss)

    return Hooks(optimizer=optimizer, report=report)


@contextmanager
def _silence() -> Iterator[None]:
    """Keep quiet a package that prints and logs at each evaluation."""
    logging.getLogger("optuna").setLevel(logging.ERROR)
    logging.getLogger("AutoTuneNet").disabled = True
    with contextlib.redirect_stdout(io.StringIO()):
        yield


def autolrs(start: Start) -> Hooks:
    """AutoLRS (Jin et al., 2021), re-implemented; its steps of exploration are charged.

    The run is cut into stages. Before each one, rates are tried from one snapshot, each for a tenth
    of a stage; an exponential curve through the training losses forecasts the loss at the end of
    the stage, and a Gaussian process with a lower confidence bound picks the next rate to try. The
    best forecast is the stage's rate. Simplified: one fit a rate, no doubling of the stage.
    """
    return Explorer(start).hooks()


class Explorer:
    """AutoLRS in motion."""

    def __init__(self, start: Start) -> None:
        self.start, task = start, start.setting.task
        self.optimizer = start.problem.optimizer(start.rate)
        self.stage = max(CANDIDATES, int(STAGE * task.steps))
        self.left = 0  # steps of the stage that is running
        self.tried: list[tuple[float, float]] = []
        self.losses: list[float] = []
        self.wasted = 0
        self.saved: Any = None
        self._begin()

    def hooks(self) -> Hooks:
        """Give its part in the loop."""
        return Hooks(
            optimizer=self.optimizer, step=self._after, close=lambda: Costs(wasted=self.wasted)
        )

    def _begin(self) -> None:
        model = self.start.problem.model.state_dict()
        self.saved = copy.deepcopy((model, self.optimizer.state_dict()))
        self.tried = []
        self._try(self._suggest())

    def _try(self, decades: float) -> None:
        self.decades, self.losses = decades, []
        self._put(decades)

    def _put(self, decades: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.start.rate * 10**decades

    def _after(self, loss: Tensor) -> None:
        if self.left:
            self.left -= 1
            if not self.left:
                self._begin()
            return
        self.wasted += 1
        self.losses.append(float(loss.detach()))
        if len(self.losses) < self.stage // CANDIDATES:
            return
        self.tried.append((self.decades, forecast(self.losses, self.stage)))
        model, optimizer = self.saved
        self.start.problem.model.load_state_dict(model)
        self.optimizer.load_state_dict(copy.deepcopy(optimizer))
        if len(self.tried) < CANDIDATES:
            self._try(self._suggest())
        else:
            self._put(min(self.tried, key=lambda pair: pair[1])[0])
            self.left = self.stage

    def _suggest(self) -> float:
        first = (0.0, -DECADES, DECADES)
        if len(self.tried) < len(first):
            return first[len(self.tried)]
        return suggest(self.tried)


def forecast(losses: list[float], at: int) -> float:
    """Continue training losses by ``a exp(-b t) + c``, fitted by least squares."""
    from scipy.optimize import curve_fit

    worst = 1e6
    if not all(map(math.isfinite, losses)) or max(losses) > worst:
        return worst
    steps = list(range(len(losses)))
    guess = (max(losses[0] - losses[-1], 1e-3), 1.0 / len(losses), losses[-1])
    bounds = ([0.0, 1e-6, -math.inf], [math.inf, 5.0, math.inf])
    with contextlib.suppress(RuntimeError, ValueError):
        (a, b, c), _ = curve_fit(_decaying, steps, losses, p0=guess, bounds=bounds, maxfev=200)
        return float(_decaying(at, a, b, c))
    return losses[-1]


def _decaying(t: Any, a: float, b: float, c: float) -> Any:
    import numpy as np

    return a * np.exp(-b * np.asarray(t, dtype=float)) + c


def suggest(tried: list[tuple[float, float]]) -> float:
    """Give the rate with the lowest confidence bound of a Gaussian process over its logarithm."""
    import warnings

    import numpy as np
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel

    x = np.array([[pair[0]] for pair in tried])
    y = np.log1p(np.maximum(np.array([pair[1] for pair in tried]), 0.0))
    grid = np.linspace(-DECADES, DECADES, 61)[:, None]
    process = GaussianProcessRegressor(RBF(0.7) + WhiteKernel(0.05), normalize_y=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mean, deviation = process.fit(x, y).predict(grid, return_std=True)
    return float(grid[int(np.argmin(mean - deviation)), 0])


# Method -> the package that it comes from, and how it takes part.
RIVALS: dict[str, tuple[str, Method]] = {
    "plain": ("torch", plain),
    "plateau": ("torch", plateau),
    "schedule_free": ("schedulefree", schedule_free),
    "prodigy": ("prodigyopt", prodigy),
    "autotunenet": ("autotunenet", autotunenet),
    "autolrs": ("scikit-learn", autolrs),
}
FOLLOWS_SCHEDULE = ("plain", "prodigy")
IGNORES_RATE = ("prodigy",)


def version_of(method: str) -> str:
    """Give the version of a rival's package; empty if it is not installed."""
    try:
        return version(RIVALS[method][0])
    except PackageNotFoundError:
        return ""


def quiet() -> None:
    """Use one thread: on models this small, more only wait for each other."""
    torch.set_num_threads(1)
