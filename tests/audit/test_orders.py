"""Who may move a knob, in logs of runs that were steered, and then tampered with."""

from pathlib import Path

import pytest

from gptune.audit import audit_data
from tests.audit.forging import (
    Body,
    Edit,
    bodies,
    broken,
    change,
    change_last,
    command,
    drop,
    put,
    rechained,
)


def elsewhere(lines: list[Body]) -> list[Body]:
    """Let a rollback go to a value that no knob ever had."""
    at = next(n for n, line in enumerate(lines) if line.get("verb") == "rollback")
    new = [{**lines[at + 1]["changes"][0], "new": 2.5}]
    return [*lines[: at + 1], *({**x, "changes": new} for x in lines[at + 1 :][:4])]


FORGERIES: dict[str, tuple[Edit, str]] = {
    "another value than was ordered": (
        change("command", arguments={"moves": {"loss.aux": 1.5}}),
        "authority",
    ),
    "another knob than was ordered": (
        change("command", arguments={"moves": {"loss.kl": 2}}),
        "authority",
    ),
    "an order that is none to move": (
        change("command", verb="pin", arguments={"family": "loss.aux"}),
        "authority",
    ),
    "an order that was refused": (change("command", accepted=False), "authority"),
    "an order done twice": (
        lambda x: [*x[:6], *[{**y, "id": "again"} for y in x[2:6]], *x[6:]],
        "authority",
    ),
    "an order of an earlier decision": (
        lambda x: [*x[:2], x[6], *[{**y, "decision": 1} for y in x[2:6]], *x[7:]],
        "authority",
    ),
    "put back where it never was": (elsewhere, "authority"),
    "another choice than was ordered": (
        change_last("proposed", changes=[{"family": "task.kind", "old": "easy", "new": "easy"}]),
        "authority",
    ),
    "an order to pause that is not done": (drop("paused"), "orders"),
    "a shorter pause than was ordered": (change("paused", decisions=1), "orders"),
    "one that was to last": (change_last("paused", decisions=1), "orders"),
    "an order to resume that is not done": (drop("unpaused"), "orders"),
    "a pause that is ordered last": (put(command("pause"), before="closed"), "orders"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_move_or_a_pause_that_is_not_what_was_ordered_is_found(name: str, steered: Path) -> None:
    edit, promise = FORGERIES[name]
    report = audit_data(rechained(edit(bodies(steered))))
    assert report.findings[0].holds
    assert promise in broken(report), broken(report)


def test_what_was_ordered_as_a_whole_number_or_text_is_the_same_move(steered: Path) -> None:
    assert bodies(steered)[1]["arguments"] == {"moves": {"loss.aux": 2}}
    assert audit_data(rechained(bodies(steered))).holds


@pytest.mark.parametrize("reasons", [["operator"], ["actuator_failed"]])
def test_a_change_that_is_interrupted_or_fails_uses_its_order_up(
    reasons: list[str], steered: Path
) -> None:
    lines = bodies(steered)
    failed = {"kind": "failed", "reasons": reasons, "families": ["loss.aux"], "message": "x"}
    failed = {**lines[4], **failed}
    assert "authority" not in broken(audit_data(rechained([*lines[:4], failed])))
    again = [{**line, "id": "again"} for line in lines[2:5]]
    assert "authority" in broken(audit_data(rechained([*lines[:4], failed, *again])))


@pytest.mark.parametrize(("to", "holds"), [(1.0, True), (1.5, False)])
def test_ranks_that_part_go_back_to_what_the_user_gave(
    to: float, holds: bool, steered: Path
) -> None:
    lines = bodies(steered)[:6]  # opened, command, and a change that was kept
    moved = lines[3]["changes"][0]
    back = [{**moved, "old": moved["new"], "new": to}]
    proposed, intent, applied, accepted = (
        {**line, "id": "home", "changes": back} for line in lines[2:]
    )
    proposed["source"], accepted["reasons"] = "ranks", ["ranks_differ"]
    applied["read_back"] = {moved["family"]: to}
    report = audit_data(rechained([*lines, proposed, intent, applied, accepted]))
    assert ("authority" not in broken(report)) is holds, broken(report)
