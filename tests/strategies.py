"""What the property tests draw from: floats, parameters, points, evidence, recipes."""

import math
from typing import Any

from hypothesis import strategies as st

from gptune.configs import Acceptance, Knob, Mutation, Safety
from gptune.core.space import SearchSpace
from gptune.records import Categorical, Evidence, Float, Integer, Parameter, Scalar

any_float = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf])
finite = st.floats(allow_nan=False, allow_infinity=False)
moderate = st.floats(min_value=-1e6, max_value=1e6)
positive = st.floats(min_value=1e-6, max_value=1e6)
names = st.text("abcdefghij_", min_size=1, max_size=6)
scalars: st.SearchStrategy[Scalar] = st.one_of(
    st.booleans(), st.integers(-(2**53), 2**53), any_float, st.text(max_size=6)
)
anything = st.one_of(
    scalars, st.none(), st.integers(), st.binary(max_size=3), st.lists(any_float, max_size=2)
)


@st.composite
def floats_in(draw: st.DrawFn) -> Float:
    """Draw a real parameter whose ends differ by more than rounding."""
    log = draw(st.booleans())
    low = draw(positive if log else moderate)
    width = draw(st.floats(min_value=1e-3, max_value=1e3))
    high = low * (1 + width) if log else low + width * max(1.0, abs(low))
    return Float(low, high, log=log)


@st.composite
def integers_in(draw: st.DrawFn) -> Integer:
    """Draw a whole-number parameter."""
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -1000, 1000))
    return Integer(low, low + draw(st.integers(1, 1000)), log=log)


def categoricals() -> st.SearchStrategy[Categorical]:
    choices = st.one_of(
        st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text("abc", max_size=2)
    )
    unique = st.lists(choices, min_size=2, max_size=4, unique_by=lambda c: (type(c), c))
    return unique.map(lambda chosen: Categorical(tuple(chosen)))


parameters: st.SearchStrategy[Parameter] = st.one_of(floats_in(), integers_in(), categoricals())


def spaces(max_size: int = 4) -> st.SearchStrategy[SearchSpace]:
    return st.dictionaries(names, parameters, min_size=1, max_size=max_size).map(SearchSpace)


def values_of(parameter: Parameter) -> st.SearchStrategy[Scalar]:
    """Draw a value that lies in a parameter."""
    if isinstance(parameter, Categorical):
        return st.sampled_from(parameter.choices)
    if isinstance(parameter, Integer):
        return st.integers(parameter.low, parameter.high)
    return st.floats(min_value=parameter.low, max_value=parameter.high)


def points_of(space: SearchSpace) -> st.SearchStrategy[dict[str, Scalar]]:
    """Draw a point of a space."""
    return st.fixed_dictionaries({name: values_of(p) for name, p in space.parameters.items()})


@st.composite
def spaces_and_points(draw: st.DrawFn) -> tuple[SearchSpace, dict[str, Scalar]]:
    space = draw(spaces())
    return space, draw(points_of(space))


def evidences() -> st.SearchStrategy[Evidence]:
    """Draw what a segment may have shown, NaN and infinities included."""
    return st.builds(
        Evidence,
        gain=any_float,
        deviation=st.none() | any_float,
        penalty=any_float,
        probability=st.none() | any_float | st.floats(0.5, 1.0),
        regressions=st.integers(0, 3),
        lowers_guarded_rate=st.booleans(),
    )


def good_evidences() -> st.SearchStrategy[Evidence]:
    """Draw evidence that is often good enough to be accepted."""
    return st.builds(
        Evidence,
        gain=st.floats(-1, 1),
        penalty=st.just(0.0),
        probability=st.floats(0.9, 1.0),
        regressions=st.sampled_from([0, 0, 0, 1]),
        lowers_guarded_rate=st.booleans(),
    )


def acceptances() -> st.SearchStrategy[Acceptance]:
    return st.builds(
        Acceptance,
        reference=st.sampled_from(["forecast", "last"]),
        epsilon=st.floats(0, 10),
        probability=st.floats(0.5, 1.0, exclude_max=True),
    )


def safeties() -> st.SearchStrategy[Safety]:
    return st.builds(
        Safety,
        block_on_nan=st.booleans(),
        block_on_anomaly=st.booleans(),
        patience=st.integers(1, 3),
        warmup=st.integers(0, 4),
        max_global_reject_streak=st.integers(1, 4),
        pause_decisions=st.integers(1, 5),
        global_cooldown=st.integers(0, 3),
    )


@st.composite
def mutations(draw: st.DrawFn) -> Mutation:
    """Draw how a knob may move; bounds, step and center are each given or left out."""
    mode = draw(st.sampled_from(["mult", "set", "delta"]))
    base: dict[str, Any] = {
        "mode": mode,
        "cooldown": draw(st.integers(0, 5)),
        "risk": draw(st.sampled_from(["low", "medium", "high"])),
    }
    ends = {
        "mult": st.tuples(st.floats(1e-3, 1.0), st.floats(1.001, 1e3)),
        "delta": st.tuples(st.floats(-1e3, 0.0), st.floats(1e-3, 1e3)),
        "set": st.tuples(st.floats(-1e3, 0.0), st.floats(1e-3, 1e3)),
    }[mode]
    bounds = draw(st.none() | ends)
    if bounds is not None:
        base["bounds"] = bounds
        base["prior_center"] = draw(st.none() | st.floats(*bounds))
    base["max_step"] = draw(st.none() | st.floats(1.001, 1e3))
    return Mutation(**base)


@st.composite
def numeric_knobs(draw: st.DrawFn) -> Knob:
    """Draw a knob that moves by numbers, ready for the gate."""
    mode: Any = draw(st.sampled_from(["mult", "set", "delta", "whole"]))
    step = draw(st.none() | st.floats(1.001, 50.0))
    rest: dict[str, Any] = {
        "max_step": step,
        "cooldown": draw(st.integers(0, 3)),
        "risk": draw(st.sampled_from(["low", "medium"])),
    }
    space: Float | Integer
    if mode == "whole":
        space = Integer(draw(st.integers(-20, 0)), draw(st.integers(1, 20)))
        return Knob(family="m.n", mutation=Mutation(mode="set", **rest), space=space, base=0)
    if mode == "mult":
        space = Float(draw(st.floats(1e-3, 1.0)), draw(st.floats(1.001, 1e3)), log=True)
    else:
        space = Float(draw(st.floats(-1e3, 0.0)), draw(st.floats(1e-3, 1e3)))
    base = draw(st.floats(1e-6, 1e3))
    return Knob(family="m.x", mutation=Mutation(mode=mode, **rest), space=space, base=base)


# --- recipes, as plain data ---------------------------------------------------------------


@st.composite
def _phases(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    inner = draw(st.lists(st.floats(0.01, 0.99), max_size=3, unique=True))
    edges = [0.0, *sorted(inner), 1.0]
    labels = draw(st.lists(names, min_size=len(edges) - 1, max_size=len(edges) - 1, unique=True))
    parts = zip(labels, edges, edges[1:], strict=False)
    tiles = [(label, {"start_frac": a, "end_frac": b}) for label, a, b in parts]
    return dict(draw(st.permutations(tiles)))


@st.composite
def _mutation_data(draw: st.DrawFn, phases: list[str]) -> dict[str, Any]:
    made = draw(mutations())
    data: dict[str, Any] = {"mode": made.mode, "cooldown": made.cooldown, "risk": made.risk}
    if made.bounds is not None:
        data["bounds"] = list(made.bounds)
    for name in ("max_step", "prior_center"):
        if draw(st.booleans()):
            data[name] = getattr(made, name)
    if draw(st.booleans()):
        data["phases"] = draw(st.lists(st.sampled_from(phases), unique=True))
    return data


@st.composite
def _group_data(draw: st.DrawFn, phases: list[str]) -> dict[str, Any]:
    knobs = draw(st.dictionaries(names, _mutation_data(phases), max_size=3))
    keys = sorted(knobs)
    cut = draw(st.integers(0, len(keys)))
    return {
        "enabled": draw(st.booleans()),
        "mutations": {k: knobs[k] for k in keys[:cut]},
        "keys": {k: knobs[k] for k in keys[cut:]},
    }


def _some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


def _decays() -> st.SearchStrategy[dict[str, Any]]:
    half_life = st.just("auto") | st.floats(0.5, 100.0)
    kinds = st.sampled_from(["none", "weights", "kernel"])
    detrend = st.just("auto") | st.booleans()
    rest = {"half_life": half_life, "detrend": detrend}
    faded = st.fixed_dictionaries({"kind": kinds}, optional=rest)
    counts = st.integers(2, 50)
    return faded | st.fixed_dictionaries({"kind": st.just("window"), "window": counts})


@st.composite
def _regions(draw: st.DrawFn) -> dict[str, Any]:
    lengths = sorted(draw(st.lists(st.floats(0.01, 1.0), min_size=3, max_size=3)))
    named = dict(zip(["minimum", "initial", "maximum"], lengths, strict=True))
    rest = {
        "enabled": st.booleans(),
        "expand": st.floats(1.1, 4.0),
        "shrink": st.floats(0.1, 0.9),
        "successes": st.integers(1, 4),
        "failures": st.integers(1, 4),
    }
    return {**named, **draw(_some(rest))}


def _sections() -> dict[str, st.SearchStrategy[Any]]:
    search = {
        "algorithm": st.sampled_from(["gp", "random", "none"]),
        "acquisition": st.sampled_from(["auto", "log_ei", "log_nei", "pi", "ucb", "thompson"]),
        "kernel": st.sampled_from(["matern52", "rbf"]),
        "warp": st.sampled_from(["auto", "none"]),
        "startup_trials": st.integers(0, 9),
        "joint": st.booleans(),
        "every": st.integers(1, 5),
        "max_observations": st.integers(4, 500),
        "decay": _decays(),
        "trust_region": _regions(),
        "prior_runs": st.just([]),
    }
    acceptance = {
        "reference": st.sampled_from(["forecast", "last"]),
        "epsilon": st.floats(0, 10),
        "probability": st.floats(0.5, 0.999),
        "horizon": st.integers(1, 5) | st.just("next_val_epoch_end"),
        "rollback_on_reject": st.booleans(),
        "lower_after_start": st.sampled_from(["strict", "free"]),
    }
    safety = {
        "block_on_nan": st.booleans(),
        "max_regression": st.floats(0.1, 100.0),
        "patience": st.integers(1, 9),
        "warmup": st.integers(0, 9),
        "start_below": st.none() | moderate,
        "max_global_reject_streak": st.integers(1, 9),
        "pause_decisions": st.integers(1, 9),
        "global_cooldown": st.integers(0, 9),
        "on_error": st.sampled_from(["log", "raise", "disable"]),
    }
    guard = {
        "enabled": st.booleans(),
        "spike": st.floats(0.1, 100.0),
        "lost_progress": st.floats(0.01, 1.0),
        "snapshots": st.integers(1, 5),
        "budget_mb": st.none() | st.floats(1.0, 1e6),
        "max_restores": st.integers(0, 50),
    }
    calibration = {"enabled": st.booleans() | st.just("auto"), "budget": st.floats(0.01, 0.99)}
    objective = {
        "primary": names,
        "mode": st.sampled_from(["min", "max"]),
        "backup_metrics": st.lists(names, max_size=3),
    }
    return {
        "version": st.just(1),
        "mode": st.sampled_from(["off", "observe", "suggest", "guard", "active", "replay"]),
        "objective": _some(objective),
        "search": _some(search),
        "acceptance": _some(acceptance),
        "safety": _some(safety),
        "guard": _some(guard),
        "calibration": _some(calibration),
    }


@st.composite
def recipes(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a valid recipe as plain data, as YAML or JSON would give it."""
    data: dict[str, Any] = draw(_some(_sections()))
    if draw(st.booleans()):
        phases = draw(_phases())
        group = _group_data(list(phases))
        data["phases"] = phases
        data["actuators"] = draw(st.dictionaries(names, group, max_size=3))
    return data
