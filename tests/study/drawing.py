"""What the tests of studies draw from: domains of every kind, their values, trials and views."""

from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from gptune.records import Categorical, Float, Integer, Scalar
from gptune.study.domains import Domain, Fixed, Stepped
from gptune.study.records import TrialRecord, TrialState
from gptune.study.samplers import Sampler, View
from tests.strategies import any_float, categoricals, floats_in, integers_in, names

seeds = st.integers(0, 2**63 - 1)
shares = st.floats(0, 1, exclude_max=True)


@st.composite
def steppeds(draw: st.DrawFn, most: int = 200) -> Stepped:
    """Draw a stepped number as people write it: with few decimals."""
    parts, step = draw(st.sampled_from([1, 10, 100, 1000])), draw(st.integers(1, 50))
    low = draw(st.integers(-1000, 1000))
    high = low + step * draw(st.integers(1, most)) + draw(st.integers(0, step - 1))
    if parts == 1:
        return Stepped(low, high, step)
    return Stepped(low / parts, high / parts, step / parts)


fixeds = st.builds(Fixed, st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab"))
searched: st.SearchStrategy[Domain] = st.one_of(
    floats_in(), integers_in(), categoricals(), steppeds()
)
domains: st.SearchStrategy[Domain] = searched | fixeds


def spaces(max_size: int = 4) -> st.SearchStrategy[dict[str, Domain]]:
    return st.dictionaries(names, domains, min_size=1, max_size=max_size)


def values_of(domain: Domain) -> st.SearchStrategy[Scalar]:
    """Draw a value that lies in a domain."""
    if isinstance(domain, Stepped):
        return st.integers(0, domain.steps).map(domain.at)
    if isinstance(domain, Float):
        return st.floats(domain.low, domain.high)
    if isinstance(domain, Integer):
        return st.integers(domain.low, domain.high)
    return st.sampled_from(domain.choices if isinstance(domain, Categorical) else [domain.value])


def points_of(space: Mapping[str, Domain]) -> st.SearchStrategy[dict[str, Scalar]]:
    return st.fixed_dictionaries({name: values_of(domain) for name, domain in space.items()})


reports = st.dictionaries(st.integers(0, 12), any_float, min_size=1, max_size=8)


@st.composite
def reported(draw: st.DrawFn, number: int = 0) -> TrialRecord:
    """Draw a trial that has reported something, NaN and infinities included."""
    state = draw(st.sampled_from([s for s in TrialState if s is not TrialState.WAITING]))
    value = draw(st.floats(-9, 9)) if state is TrialState.COMPLETE else None
    return TrialRecord(number=number, state=state, value=value, reports=draw(reports))


def complete(number: int, params: dict[str, Scalar], value: float, **rest: Any) -> TrialRecord:
    """Make a trial that has come to a value."""
    fields = {"state": TrialState.COMPLETE, "value": value, **rest}
    return TrialRecord(number=number, params=params, **fields)


def ended(number: int, params: dict[str, Scalar], state: str, **rest: Any) -> TrialRecord:
    """Make a trial that has failed, or was pruned."""
    return TrialRecord(number=number, params=params, state=TrialState(state), **rest)


def view_of(space: Mapping[str, Domain], number: int = 0, **rest: Any) -> View:
    fields: dict[str, Any] = {"seed": 0, "sign": -1.0, "finished": (), **rest}
    return View(number=number, space=space, **fields)


def play(sampler: Sampler, view: View, count: int, score: Any) -> list[TrialRecord]:
    """Run a study of so many trials, one after another, without a storage."""
    trials, memory = list(view.finished), view.memory
    for number in range(len(trials), len(trials) + count):
        made = sampler.suggest(
            View(
                number=number,
                seed=view.seed,
                sign=view.sign,
                space=view.space,
                finished=trials,
                running=view.running,
                allowed=view.allowed,
                memory=memory,
            )
        )
        memory = made.memory or memory
        params = dict(made.params)
        trials.append(complete(number, params, score(params), memory=dict(made.memory)))
    return trials
