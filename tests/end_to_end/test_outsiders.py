"""Whatever somebody puts into a run directory's commands, he gets no further than the recipe lets.

The files hold data; a command can only choose one of the orders that there are.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import gptune
from gptune.configs.overrides import BLOCKERS, SETTABLE, field_of
from gptune.events import Applied, Command, Line
from gptune.online.steering import VERBS
from gptune.run_directory import control, names
from gptune.run_directory.event_log import read_events
from tests.doubles import FakeKnob
from tests.fakes import MemoryDisk

RUN = Path("/runs/one")
LOW, HIGH = 0.1, 10.0
RECIPE: dict[str, Any] = {
    "actuators": {"loss": {"keys": {"aux": {"bounds": [LOW, HIGH], "max_step": 2.0}}}},
    "search": {"algorithm": "random", "startup_trials": 0},
}
WORDS = [
    *("family", "moves", "changes", "mode", "decisions", "to", "verb", "loss.aux", "aux", "active"),
    *("actuators.loss.keys.aux.bounds", "actuators.loss.keys.aux.max_step", "__class__", "raise"),
    *("../../etc/passwd", "!!python/object", "cos\nsystem\n(S'true'\ntR."),
    *SETTABLE,
    *(f"safety.{name}" for name in BLOCKERS),
]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.floats(LOW / 2, HIGH * 2),
    st.text(max_size=8),
    st.sampled_from(WORDS),
)
DATA = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


def fitting(path: str) -> Any:
    """Give a field another value of its kind: what might be taken for a sound order."""
    now = field_of(gptune.Recipe(), path)
    if isinstance(now, bool):
        return not now
    if isinstance(now, int | float):
        return now + 1
    return "raise" if path == "safety.on_error" else now


def order(verb: str, **arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(lambda **given: {"verb": verb, "arguments": given}, **arguments)


FIELDS = [*SETTABLE, *(f"safety.{name}" for name in BLOCKERS)]
ORDERS = st.one_of(
    st.sampled_from(VERBS).flatmap(order),
    order("set", changes=st.sampled_from(FIELDS).map(lambda path: {path: fitting(path)})),
    order("set", changes=st.dictionaries(st.sampled_from(WORDS), DATA, min_size=1, max_size=2)),
    order("apply", moves=st.floats(LOW, 2 * HIGH).map(lambda move: {"loss.aux": move})),
    order("apply", moves=LEAVES.map(lambda move: {"loss.aux": move})),
    order("pin", family=st.sampled_from(["loss.aux", *WORDS])),
    st.builds(dict, verb=st.sampled_from(VERBS) | LEAVES, arguments=DATA),
)
BYTES = st.one_of(
    ORDERS.map(lambda data: json.dumps(data).encode()),
    DATA.map(lambda data: json.dumps(data).encode()),
    st.binary(max_size=60),
)


def deep(depth: int) -> bytes:
    """Give a command that is read, and whose one argument is that deep."""
    inner = b'{"a":' * depth + b"1" + b"}" * depth
    return b'{"verb": "apply", "arguments": {"moves": %s}}' % inner


def brakes(tuner: gptune.Tuner) -> tuple[Any, ...]:
    """Give what no order may change: knobs with bounds and largest steps, blockers, on_error."""
    plain = tuner.recipe.to_dict()
    return plain["actuators"], [plain["safety"][name] for name in BLOCKERS], plain["objective"]


def whitelisted(line: Line) -> bool:
    """Say whether a line shows nothing but an order that there is, or a refusal."""
    event = line.event
    if isinstance(event, Applied):
        return all(LOW <= float(change.new) <= HIGH for change in event.changes)
    if not isinstance(event, Command) or not event.accepted:
        return True
    return event.verb in VERBS and set(event.arguments.get("changes", {})) <= set(SETTABLE)


@settings(max_examples=300)
@given(st.lists(BYTES, min_size=1, max_size=4))
@example([deep(100), deep(480), deep(900), deep(1500)])
@example([b"[" * control.LONGEST, b"x" * (control.LONGEST + 1)])
def test_no_bytes_widen_bounds_or_steps_take_off_a_brake_or_do_what_is_no_order(
    commands: list[bytes],
) -> None:
    disk, knob = MemoryDisk(), FakeKnob("loss.aux", low=LOW, high=HIGH)
    tuner = gptune.Tuner([knob], recipe=RECIPE, run_dir=RUN, file_system=disk)
    before = brakes(tuner)
    with tuner:
        for number, data in enumerate(commands):
            disk.replace(RUN / names.COMMANDS / f"{number}.json", data)
            tuner.step()
            tuner.report({"val/loss": 1.0 / (number + 1)})
            assert brakes(tuner) == before
            assert LOW <= knob.value <= HIGH
            assert tuner.log_ok
            assert control.read_answer(disk, RUN, str(number)) is not None
        assert disk.names(RUN / names.COMMANDS) == []
    lines = read_events(RUN, disk)
    assert all(map(whitelisted, lines))
    assert sum(isinstance(line.event, Command) for line in lines) == len(commands)
    assert {path.parent for path in disk.files} <= {RUN, RUN / names.COMMANDS, RUN / names.ANSWERS}


def seen(directory: Path) -> dict[str, tuple[int, bytes]]:
    """Give all that lies beside the run directory: names, kinds and contents."""
    found: dict[str, tuple[int, bytes]] = {}
    for place, folders, files in os.walk(directory):
        if "run" in folders:
            folders.remove("run")
        for name in (*folders, *files):
            path = Path(place) / name
            content = path.read_bytes() if path.is_file() else b""
            found[str(path)] = (path.lstat().st_mode, content)
    return found


NAMES = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40),
    st.sampled_from(
        [
            "..json",
            "...json",
            "..\\..\\x.json",
            "%2e%2e%2fx.json",
            "~.json",
            "-rf.json",
            "$HOME.json",
        ]
    ),
    st.from_regex(r"[0-9A-Za-z][0-9A-Za-z_-]{0,9}\.json", fullmatch=True),
).filter(lambda name: name not in (".", "..") and len(os.fsencode(name)) <= 255)
KINDS = ["order", "link", "link up", "directory", "pipe"]


def put(path: Path, kind: str) -> None:
    if kind == "order":
        path.write_bytes(b'{"verb": "pause", "arguments": {}}')
    elif kind == "directory":
        path.mkdir()
        (path / "inside.json").touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("../../secret" if kind == "link" else "../..")


@settings(max_examples=60)
@given(
    st.dictionaries(NAMES, st.sampled_from(KINDS), max_size=6),
    st.sampled_from([names.COMMANDS, names.ANSWERS]),
)
def test_whatever_name_lies_there_nothing_outside_the_run_directory_is_made_changed_or_removed(
    tmp_path_factory: pytest.TempPathFactory, found: dict[str, str], where: str
) -> None:
    tmp_path = tmp_path_factory.mktemp("names")
    (tmp_path / "secret").write_bytes(b'{"verb": "disable", "arguments": {}}')
    knob = FakeKnob("loss.aux")
    with gptune.Tuner([knob], recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        before = seen(tmp_path)
        place = tmp_path / "run" / where
        place.mkdir()
        for name, kind in found.items():
            put(place / name, kind)
        for _ in range(2):
            tuner.report({"val/loss": 1.0})
        assert seen(tmp_path) == before
        assert tuner.mode.value == "active"
        assert tuner.log_ok


def test_ten_thousand_commands_at_once_are_done_a_bounded_number_at_a_look_and_in_order(
    tmp_path: Path,
) -> None:
    with gptune.Tuner([FakeKnob("loss.aux")], recipe=RECIPE, run_dir=tmp_path / "run") as tuner:
        place = tmp_path / "run" / names.COMMANDS
        place.mkdir()
        for number in range(10_000):
            (place / f"{number:05d}.json").write_bytes(b'{"verb": "resume", "arguments": {}}')
        for look in (1, 2):
            tuner.report({"val/loss": 1.0})
            assert len(list(place.iterdir())) == 10_000 - look * control.MOST
    events = [line.event for line in read_events(tmp_path / "run")]
    done = [event.id for event in events if isinstance(event, Command)]
    assert done == [f"{number:05d}" for number in range(3 * control.MOST)], (
        "closing looks once more"
    )
