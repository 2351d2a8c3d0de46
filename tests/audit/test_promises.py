"""The rules, as far as logs of real runs do not show them."""

from pathlib import Path

import pytest

from gptune.audit import audit_data
from gptune.audit.account import Account
from gptune.audit.chain import Entry
from gptune.audit.promises import PROMISES
from tests.audit.forging import (
    Body,
    Edit,
    bodies,
    broken,
    change,
    drop,
    first,
    knob,
    moved,
    opened,
    put,
    rechained,
)

FLOAT = {"type": "float", "low": 0.5, "high": 2.0, "log": True}
WHOLE = {"type": "integer", "low": 1, "high": 8, "log": False}
CHOICE = {"type": "categorical", "choices": ["a", 1]}


def complaints(name: str, account: Account, kind: str, **body: object) -> list[str]:
    (promise,) = (one for one in PROMISES if one.name == name)
    entry = Entry(number=1, kind=kind, decision=5, step=50, phase="mid", body=dict(body))
    return list(promise.rule(account, entry))


def account(space: dict[str, object], **mutation: object) -> Account:
    knob = {"space": space, "base": 4.0, "mutation": {"mode": "mult", **mutation}}
    return Account(knobs={"a": knob}, source="gp")


def moves(old: object, new: object) -> list[dict[str, object]]:
    return [{"family": "a", "old": old, "new": new}]


@pytest.mark.parametrize(
    ("space", "move", "holds"),
    [
        *((FLOAT, x, True) for x in (0.5, 1, 2.0)),
        *((FLOAT, x, False) for x in (0.49, 2.01, True, "1", None)),
        *((WHOLE, x, True) for x in (1, 8)),
        *((WHOLE, x, False) for x in (0, 9, 2.0, True)),
        *((CHOICE, x, True) for x in ("a", 1)),
        *((CHOICE, x, False) for x in (1.0, True, "b")),
    ],
)
def test_a_move_lies_in_its_space_or_not(
    space: dict[str, object], move: object, holds: bool
) -> None:
    found = complaints("bounds", account(space), "intent", changes=moves(1.0, move))
    assert bool(found) is not holds


@pytest.mark.parametrize(
    ("mutation", "space", "move", "holds"),
    [
        ({}, FLOAT, (1.0, 2.0), True),
        ({}, FLOAT, (1.0, 0.49), False),
        ({"max_step": 1.5}, FLOAT, (1.0, 1.6), False),
        ({"mode": "set"}, WHOLE, (1, 3), False),  # a quarter of 7, and at least 1
        ({"mode": "set"}, {**WHOLE, "high": 2}, (1, 2), True),
        ({"mode": "delta", "max_step": 0.1}, FLOAT, (1.0, 1.05), True),
        ({"mode": "delta", "max_step": 0.1}, FLOAT, (1.0, 1.2), False),
        ({"mode": "set"}, CHOICE, ("a", "b"), True),  # has no distance
    ],
)
def test_a_step_is_within_its_largest_or_not(
    mutation: dict[str, object],
    space: dict[str, object],
    move: tuple[object, object],
    holds: bool,
) -> None:
    known = account(space, **mutation)
    assert bool(complaints("step", known, "intent", changes=moves(*move))) is not holds


@pytest.mark.parametrize(
    ("mode", "on_schedule", "value"),
    [
        ("mult", False, 2.0),
        ("delta", False, 4.5),
        ("set", False, 0.5),
        ("mult", True, 0.5),
        ("set", True, 0.125),
        ("delta", True, 1.125),
    ],
)
def test_what_must_be_read_back_follows_from_how_a_knob_moves(
    mode: str, on_schedule: bool, value: float
) -> None:
    known = account(FLOAT, mode=mode)
    known.knobs["a"]["on_schedule"] = on_schedule
    for read, count in ((value, 0), (value * 1.001, 1)):
        found = complaints(
            "read back", known, "applied", changes=moves(1.0, 0.5), read_back={"a": read}
        )
        assert len(found) == count


def test_every_promise_has_a_name_of_its_own_and_says_one_thing() -> None:
    assert len({promise.name for promise in PROMISES}) == len(PROMISES)
    assert all(promise.says and promise.kinds for promise in PROMISES)


def twice(lines: list[Body]) -> list[Body]:
    """Let the calibrated rate be put in force a second time."""
    at = first(lines, "proposed")
    again = [{**x, "id": "again"} for x in lines[at : at + 4]]
    return [*lines[: at + 4], *again, *lines[at + 4 :]]


UP = [{"family": "opt.lr", "old": 1.0, "new": 1.5}]

GUARD_FORGERIES: dict[str, tuple[Edit, str]] = {
    "trials out of bounds": (change("look_ahead", 0, high=1e4), "look ahead"),
    "a trial that was not announced": (change("look_ahead", 1, chosen="500"), "look ahead"),
    "no announcement": (drop("look_ahead"), "look ahead"),
    "too many steps": (change("look_ahead", 1, steps=61), "look ahead"),
    "too many restores": (opened(guard={"max_restores": 0}), "restores"),
    "a state of the future": (change("restored", to_step=10**6), "restores"),
    "a rate that was not found": (moved(0, 7.0), "authority"),
    "a knob that is no rate": (knob(is_rate=False), "authority"),
    "a rate from a calibration that was stopped": (
        change("look_ahead", 1, stopped="by somebody"),
        "authority",
    ),
    "a rate found twice": (twice, "authority"),
    "the guard raises the rate": (
        lambda x: put(
            {"kind": "proposed", "source": "guard", "changes": UP},
            {"kind": "intent", "id": "up", "changes": UP},
            before="observed",
            nth=[n for n, y in enumerate(x) if y["kind"] == "observed"].index(
                next(n for n in range(first(x, "restored"), len(x)) if x[n]["kind"] == "observed")
            ),
        )(x),
        "authority",
    ),
    "a restore in mode observe": (change("opened", recipe={"mode": "observe"}), "mode"),
}


@pytest.mark.parametrize("name", GUARD_FORGERIES)
def test_a_broken_rule_of_calibration_and_guard_is_found(name: str, guarded: Path) -> None:
    edit, promise = GUARD_FORGERIES[name]
    report = audit_data(rechained(edit(bodies(guarded))))
    assert report.findings[0].holds
    assert promise in broken(report), broken(report)


CARRIED_FORGERIES: dict[str, tuple[Edit, str]] = {
    "brought along in the middle": (
        lambda x: put({**x[2], "kind": "opened"}, before="observed")(x),
        "order",
    ),
    "brought along by one that begins": (change("opened", 1, resumed=False), "order"),
    "an open value": (moved(0, 1e6), "bounds"),
    "more than what was brought along": (
        lambda x: put(*[{**y, "id": "11:loss.aux@replay"} for y in x[3:7]], before="observed")(x),
        "mode",
    ),
    "a brake that was taken off": (
        lambda x: change(
            "opened", 1, carried={**x[2]["carried"], "overrides": {"safety.on_error": "raise"}}
        )(x),
        "form",
    ),
    "a pause that is over": (
        put({"kind": "unpaused", "by": "count"}, before="observed"),
        "pause",
    ),
    "a process that does not wait": (
        lambda x: change("opened", 1, carried=None)(x),
        "order",
    ),
}


@pytest.mark.parametrize("name", CARRIED_FORGERIES)
def test_a_broken_rule_of_a_run_that_goes_on_elsewhere_is_found(name: str, carried: Path) -> None:
    edit, promise = CARRIED_FORGERIES[name]
    report = audit_data(rechained(edit(bodies(carried))))
    assert promise in broken(report), broken(report)
