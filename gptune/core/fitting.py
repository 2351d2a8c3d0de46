"""Fit the surrogate's hyperparameters: warm from the last fit, now and then anew.

A fit climbs the log posterior of the hyperparameters from the last ones. Every fifth observation
(beyond ``EARLY``, every tenth) it also starts where all is noise, and tries both families of
warps; every tenth it starts at the prior's mode too. All starts climb in lock step, and the
number of evaluations is bounded.

So is the cost for many observations: several starts climb on at most ``COARSE`` of them, and the
best end climbs on with the others; beyond ``MANY`` the hyperparameters are fitted to the best half
of ``SAMPLE`` and as many others, drawn by chance, and beyond ``MOST`` the posterior is conditioned
on the best half and the newest of the rest only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from gptune.core.ascent import ascend
from gptune.core.history import TrainingData
from gptune.core.likelihood import Form, Hyperparameters, LogPosterior, prior, prior_mode
from gptune.core.space import cube
from gptune.core.surrogate import Surrogate, condition, warped

AGAIN, ANEW, EARLY = 5, 10, 50  # [observations]
FIRST, DUE, WARM = (1e-7, 60), (1e-5, 16), (1e-4, 6)  # when a climb ends: see `_climb`
COARSE, MANY, SAMPLE, MOST = 100, 300, 256, 1000  # [observations]
NOISY = 0.3  # variance at the start where all is noise [standardised units, squared]
MARGIN = 3.0  # by which LogGap must explain the data better than Yeo-Johnson [nats]
# Of log lengthscale and log noise. A lengthscale below a twentieth makes every point an island, and
# the search is then held to the planes of the points that it has; beyond the others all is flat.
LOG_BOUNDS = ((-3.0, 4.0), (-13.0, 2.0))
TIME_BOUNDS, WARP_BOUNDS = (0.0, 7.0), {"yeo_johnson": (-2.0, 4.0), "log_gap": (-2.0, 8.0)}

Expired = Callable[[], bool]  # whether the time for a proposal is up


def never() -> bool:
    """Say that there is always time."""
    return False


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """What the next fit starts from, as plain data.

    Attributes:
        warp: The family of warps that was chosen.
        theta: The hyperparameters as `Hyperparameters.pack` writes them.
        count: How many observations had been told by then.
    """

    warp: str
    theta: tuple[float, ...]
    count: int


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted surrogate, and what the next fit starts from."""

    surrogate: Surrogate
    fitted: Fitted


@dataclass(frozen=True, slots=True)
class _Climb:
    """Where a climb ended, and how high."""

    form: Form
    hyper: Hyperparameters
    height: float


def fit(
    data: TrainingData,
    form: Form,
    last: Fitted | None,
    *,
    count: int,
    warps: bool = False,
    expired: Expired = never,
) -> Fit | None:
    """Fit by maximum a posteriori and condition on the data.

    If no climb gives a surrogate, the last hyperparameters serve, then the prior's mode.

    Args:
        data: Raw training data, n >= 1.
        form: The kernel, and whether the rate of decay is fitted; its warp is chosen here.
        last: What the fit before gave, or ``None``.
        count: How many observations were told so far; it fixes which starts are due.
        warps: Whether to choose between the families of warps. Values with given noise stay as
            they are, for the noise is known on their own scale only.
        expired: Says when the time is up; the best so far then serves.

    Returns:
        The fit, or ``None`` when nothing could be factorised.
    """
    data = data.prepared()
    if len(data) > MOST:
        data = data.subset(_best_and_newest(data, MOST))
    if last is not None and len(last.theta) != _size(data, _with(form, last.warp)):
        last = None
    may_warp = warps and not bool(data.noise.any()) and bool(data.y.any()) and len(data) > 2
    families = ("yeo_johnson", "log_gap") if may_warp else ("none",)
    sample = _thinned(data, MANY, SAMPLE, count)
    cold = _with(form, "none")
    reserve = [(cold, prior_mode(data.x.shape[-1], cold))]
    if last is not None:
        reserve.insert(0, (_with(form, last.warp), _read(last, form)))
    if last is not None and last.warp in families and not _is_due(count, last.count):
        ends = _climb(sample, reserve[:1], WARM, expired)
    else:
        forms = [_with(form, warp) for warp in families]
        ends = _climb_anew(sample, forms, (last, count), expired)
    return _condition(data, [(end.form, end.hyper) for end in ends] + reserve, count)


def _climb_anew(
    sample: TrainingData, forms: list[Form], known: tuple[Fitted | None, int], expired: Expired
) -> list[_Climb]:
    """Climb from several starts in each form, on few observations; then on with the best."""
    starts = [(form, start) for form in forms for start in _starts(sample, form, *known)]
    coarse = _thinned(sample, COARSE, COARSE, known[1])
    ends = sorted(
        _climb(coarse, starts, FIRST if known[0] is None else DUE, expired), key=_rank, reverse=True
    )
    if coarse is sample or not ends:
        return ends
    return _climb(sample, [(ends[0].form, ends[0].hyper)], WARM, expired) + ends


def _is_due(count: int, before: int) -> bool:
    period = AGAIN if count <= EARLY else ANEW
    return count // period != before // period


def _read(last: Fitted, form: Form) -> Hyperparameters:
    return Hyperparameters.unpack(cube(list(last.theta)), _with(form, last.warp))


def _with(form: Form, warp: str) -> Form:
    return Form(form.kernel, warp, form.fits_half_life)


def _size(data: TrainingData, form: Form) -> int:
    return len(prior_mode(data.x.shape[-1], form).pack())


def _starts(
    data: TrainingData, form: Form, last: Fitted | None, count: int
) -> list[Hyperparameters]:
    """List where to begin: at the last fit, in noise, and when it is time at the prior's mode."""
    cold = prior_mode(data.x.shape[-1], form)
    if last is None:
        return [cold, _noisy(cold)]
    known = _read(last, form)
    warm = known if last.warp == form.warp else known.adapt(form)
    anew = count // ANEW != last.count // ANEW
    return [warm, _noisy(warm), cold] if anew else [warm, _noisy(warm)]


def _noisy(hyper: Hyperparameters) -> Hyperparameters:
    noise = torch.full_like(hyper.noise, NOISY)
    return Hyperparameters(hyper.lengthscale, noise, hyper.half_life, hyper.warp)


def _condition(
    data: TrainingData, tries: list[tuple[Form, Hyperparameters]], count: int
) -> Fit | None:
    """Condition on all data at the first hyperparameters that allow it."""
    for form, hyper in tries:
        surrogate = condition(warped(data, hyper, form), hyper, form)
        if surrogate is not None and bool(surrogate.factors.weights.isfinite().all()):
            theta = tuple(hyper.pack().tolist())
            return Fit(surrogate, Fitted(warp=form.warp, theta=theta, count=count))
    return None


def _rank(end: _Climb) -> float:
    return end.height - (MARGIN if end.form.warp == "log_gap" else 0.0)


def _best_and_newest(data: TrainingData, most: int) -> Tensor:
    """Indices of the best half and the newest of the rest, in order, shape ``(most,)``."""
    order = data.y.argsort(descending=True, stable=True)
    best, rest = order[: most // 2], order[most // 2 :].sort().values
    return torch.cat([best, rest[-(most - most // 2) :]]).sort().values


def _thinned(data: TrainingData, many: int, kept: int, count: int) -> TrainingData:
    """Keep the best half of ``kept`` and as many others by chance, if there are over ``many``."""
    if len(data) <= many:
        return data
    order = data.y.argsort(descending=True, stable=True)
    generator = torch.Generator("cpu").manual_seed(count // ANEW)  # the same for a while: warm
    others = order[kept // 2 :]
    drawn = torch.randperm(len(others), generator=generator, device="cpu")[: kept - kept // 2]
    return data.subset(torch.cat([order[: kept // 2], others[drawn]]).sort().values)


def _climb(
    data: TrainingData,
    starts: list[tuple[Form, Hyperparameters]],
    until: tuple[float, int],
    expired: Expired,
) -> list[_Climb]:
    """Climb the log posterior from all starts in lock step; give the ends that are sound.

    Climbs end at a relative gain below the first of ``until``, or after as many evaluations as
    the second: a warm one goes on at the next observation, so that few will do.
    """
    form = starts[0][0]
    log_posterior = LogPosterior(data, form, [own.warp for own, _ in starts])
    bounds = [_bounds(data, own) for own, _ in starts]
    low, high = torch.stack([b[0] for b in bounds]), torch.stack([b[1] for b in bounds])
    begin = torch.stack([start.pack() for _, start in starts])
    with torch.inference_mode():
        ends, heights = ascend(
            log_posterior,
            begin.clamp(low, high),
            (low, high),
            prior(data.x.shape[-1], form)[1],
            evaluations=until[1],
            tolerance=until[0],
            expired=expired,
        )
    return [
        _Climb(own, Hyperparameters.unpack(end, own), height)
        for (own, _), end, height in zip(starts, ends.clone(), heights.tolist(), strict=True)
        if height > -1e10
    ]


def _bounds(data: TrainingData, form: Form) -> tuple[Tensor, Tensor]:
    """Lower and upper ends of what is fitted, each ``(p,)``."""
    bounds = [LOG_BOUNDS[0]] * data.x.shape[-1] + [LOG_BOUNDS[1]]
    if form.fits_half_life:
        bounds.append(TIME_BOUNDS)
    if form.warp != "none":
        bounds.append(WARP_BOUNDS[form.warp])
    return cube([low for low, _ in bounds]), cube([high for _, high in bounds])
