"""The auditor's own account, against what the kernel itself remembers."""

import json

import pytest
from hypothesis import given

from gptune.audit.account import Account, advance, is_finite
from gptune.audit.chain import Entry, read_chain
from tests.audit.forging import encoded
from tests.logs import KernelRun, kernel_runs


def account_of(run: KernelRun) -> Account:
    account = Account()
    for entry in read_chain(encoded(run.lines)).entries:
        account = advance(account, entry)
    return account


@given(kernel_runs())
def test_it_comes_to_what_the_kernel_remembers(run: KernelRun) -> None:
    account, state = account_of(run), run.state
    assert account.point == state.point
    assert account.open_id == (state.pending.id if state.pending else "")
    assert (account.paused, account.until) == (state.safety.paused, state.safety.paused_until)
    assert account.decision == state.decision
    assert account.quarantined == set(state.safety.quarantined)
    ready = {f: n + account.mutation(f)["cooldown"] + 1 for f, n in account.moved.items()}
    assert {f: n for f, n in state.safety.ready.items() if f not in account.quarantined} == {
        f: n for f, n in ready.items() if f not in account.quarantined
    }
    if not account.quarantined:
        assert account.rejects == state.safety.rejects


def test_what_an_order_sets_counts_from_there_on() -> None:
    def line(number: int, kind: str, **fields: object) -> bytes:
        envelope = {"v": 1, "seq": number, "generation": 0, "decision": 0, "step": 0, "phase": ""}
        body = {**envelope, "kind": kind, **fields, "wall": {}, "checksum": ""}
        return json.dumps(body).encode() + b"\n"

    command = {"id": "a", "accepted": True, "message": ""}
    changes = {"changes": {"safety.global_cooldown": 3}}
    data = line(1, "opened", recipe={"mode": "active"}, knobs={}, resumed=False)
    data += line(2, "command", verb="set", arguments=changes, **command)
    data += line(3, "command", verb="pin", arguments={"family": "opt.lr"}, **command)
    account = Account()
    for entry in read_chain(data).entries:
        account = advance(account, entry)
    assert account.rule("safety", "global_cooldown", 1) == 3
    assert account.pinned == {"opt.lr"}


@pytest.mark.parametrize(("reason", "rests"), [("operator", False), ("validate_refused", True)])
def test_a_change_that_somebody_interrupted_says_nothing_of_its_knob(
    reason: str, rests: bool
) -> None:
    body = {"id": "1:a", "reasons": [reason], "families": ["a"], "message": "a: interrupted"}
    failed = Entry(number=2, kind="failed", decision=1, step=1, phase="", body=body)
    after = advance(Account(intents={"1:a": ()}), failed)
    assert not after.intents
    assert not after.quarantined
    assert (after.moved == {"a": 1}) is rests


def test_only_one_real_number_is_finite() -> None:
    assert all(map(is_finite, (1, -0.5)))
    assert not any(map(is_finite, (True, float("nan"), float("inf"), "1", None, [1.0])))
