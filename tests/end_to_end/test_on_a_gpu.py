"""What is different on a GPU: waits, rates that lie there, captured steps, pinned snapshots.

Every body runs on the CPU too, where no wait can be seen: there reads of a tensor's number are
counted, and a captured step is played by one that calls no hooks.
"""

import io
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import ExponentialLR
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

import gptune
from gptune.actuators import copies
from gptune.actuators.chance import get_chance, set_chance
from gptune.online.rescue import EVERY
from gptune.records import Reason
from gptune.run_directory import control
from gptune.run_directory.file_system import Disk
from tests.actuators.comparing import bits

NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_GPU)]
RECIPE: dict[str, Any] = {
    "objective": {"primary": "loss"},
    "actuators": {"opt": {"mutations": {"lr": {"max_step": 2.0}}}},
    "calibration": {"enabled": False},
    "search": {"algorithm": "none"},
}
Make = Callable[[nn.Module, torch.device], Optimizer]


@pytest.fixture(autouse=True)
def _keep_chance() -> Iterator[None]:
    before = get_chance()
    yield
    set_chance(before)


def sgd(model: nn.Module, device: torch.device) -> Optimizer:
    return SGD(model.parameters(), lr=0.01, momentum=0.9)


def adam(model: nn.Module, device: torch.device) -> Optimizer:
    """Keep rate and step count on the device, as a captured step needs it."""
    rate = torch.tensor(0.01, device=device)
    on_gpu = device.type == "cuda"  # torch has capturable steps there alone
    return Adam(model.parameters(), lr=rate, capturable=on_gpu, foreach=on_gpu)


class Run:
    """A small run on a device, tuned if it has a run directory; equal ones go the same way."""

    def __init__(self, device: str, make: Make, run_dir: Path | None = None) -> None:
        self.device, chance = torch.device(device), torch.Generator().manual_seed(4)
        self.x = torch.randn(64, 6, generator=chance).to(self.device)
        self.y = self.x.sin().sum(1, keepdim=True)
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 1)).to(self.device)
        self.optimizer = make(self.model, self.device)
        self.tuner: gptune.Tuner | None = None
        if run_dir is not None:
            given: dict[str, Any] = {"model": self.model, "recipe": RECIPE, "run_dir": run_dir}
            self.tuner = gptune.Tuner(self.optimizer, **given)

    @property
    def rate(self) -> Any:
        return self.optimizer.param_groups[0]["lr"]

    @property
    def tuned(self) -> gptune.Tuner:
        assert self.tuner is not None
        return self.tuner

    def backward(self) -> Tensor:
        self.optimizer.zero_grad()
        loss = nn.functional.mse_loss(self.model(self.x), self.y)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    def update(self, loss: Tensor) -> None:
        self.optimizer.step()
        if self.tuner is not None:
            self.tuner.step(loss)

    def step(self) -> None:
        self.update(self.backward())

    def order(self, multiplier: float) -> None:
        """Put a multiplier on the rate in force, as an operator does; it stays."""
        directory = self.tuned.run_dir
        assert directory is not None
        control.send(Disk(), directory, "apply", {"moves": {"opt.lr": multiplier}})
        self.tuned.report({"loss": 1.0})
        assert self.tuned.values["opt.lr"] == multiplier

    def learnt(self) -> Any:
        """Give, to the bit, what training has changed."""
        return bits([self.model.state_dict(), self.optimizer.state_dict()["state"]])

    def weights(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.model.parameters()]


def step_by_hand(run: Run, multiplier: float, step: Callable[[], object]) -> None:
    """Step at a scaled rate that lies on the device."""
    own = run.rate.clone()
    run.rate.mul_(multiplier)
    step()
    run.rate.copy_(own)


# Waits


class Reads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what would wait for a device, were the tensors on one: their numbers are read."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        self.count += func in (aten._local_scalar_dense.default, aten.equal.default)
        return func(*args, **(kwargs or {}))


def waits(device: torch.device, call: Callable[[], object]) -> int:
    """Count how often a call waits for the device, also where it contains what that raises."""
    if device.type == "cpu":
        reads = Reads()
        with reads:
            call()
        return reads.count
    with warnings.catch_warnings(record=True) as said, watched_by_torch():
        warnings.simplefilter("always")
        call()
    return sum("synchronizing CUDA operation" in str(one.message) for one in said)


@contextmanager
def watched_by_torch() -> Iterator[None]:
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says of itself that it is a prototype
        torch.cuda.set_sync_debug_mode("warn")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("device", DEVICES)
def test_a_wait_is_seen(device: str) -> None:
    number = torch.ones(3, device=device)
    place = number.device
    assert waits(place, lambda: number[0].item()) > 0
    assert waits(place, lambda: bool(number.isfinite().all())) > 0
    assert waits(place, lambda: number.mul_(2.0)) == 0


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("device", DEVICES)
def test_a_step_with_a_change_in_force_waits_for_no_device(
    device: str, make: Make, tmp_path: Path
) -> None:
    """On the CPU, losses are read where they are looked at; on a GPU not even there."""
    run, bare = Run(device, make, tmp_path / "run"), Run(device, make)
    with run.tuned as tuner:
        for one in (run, bare):
            one.step()
        run.order(0.5)
        waited: dict[int, int] = {}
        for _ in range(200):
            losses = run.backward(), bare.backward()
            tuned = waits(run.device, lambda: run.update(losses[0]))  # noqa: B023  called at once
            plain = waits(run.device, lambda: bare.update(losses[1]))  # noqa: B023
            waited[tuner.steps] = tuned - plain
        effective = tuner.knobs["opt.lr"].effective
        assert effective == pytest.approx(0.5 * float(run.rate))
    looks = [step for step in waited if step % EVERY == 0]
    assert len(looks) == 12
    assert max(waited[step] for step in looks) <= (device == "cpu")
    assert not any(waited[step] for step in waited if step not in looks)


# A rate on the device


@pytest.mark.parametrize("device", DEVICES)
def test_a_rate_on_the_device_is_multiplier_times_schedule_and_left_to_the_schedule(
    device: str, tmp_path: Path
) -> None:
    run, twin = Run(device, adam, tmp_path / "run"), Run(device, adam)
    schedules = [ExponentialLR(one.optimizer, 0.9) for one in (run, twin)]
    rate = run.rate
    with run.tuned as tuner:
        run.order(0.5)
        for _ in range(20):
            scheduled = float(rate)
            run.step()
            twin.backward()
            step_by_hand(twin, 0.5, twin.optimizer.step)
            assert run.rate is rate
            assert rate.device.type == device
            assert float(rate) == scheduled
            assert tuner.knobs["opt.lr"].effective == 0.5 * scheduled
            for schedule in schedules:
                schedule.step()
    assert float(rate) == pytest.approx(0.01 * 0.9**20)
    assert run.learnt() == twin.learnt()


def capture(run: Run, multiplier: float) -> Callable[[], object]:
    """Capture the optimizer's step while a multiplier is in force; gives what replays it."""
    if run.device.type == "cpu":
        bare: Any = Adam.step
        return lambda: step_by_hand(run, multiplier, lambda: bare.__wrapped__(run.optimizer))
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run.optimizer.step()
    return graph.replay


@contextmanager
def aside(device: torch.device) -> Iterator[None]:
    """Work on a stream of its own, as what comes before a capture must."""
    if device.type == "cpu":
        yield
        return
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        yield
    torch.cuda.current_stream().wait_stream(stream)


@pytest.mark.parametrize("device", DEVICES)
def test_a_captured_step_keeps_the_multiplier_of_its_capture_and_the_knob_is_said_not_to_act(
    device: str, tmp_path: Path
) -> None:
    run, twin = Run(device, adam, tmp_path / "run"), Run(device, adam)
    with run.tuned as tuner:
        run.order(0.5)
        with aside(run.device):
            for _ in range(3):
                run.step()
                twin.backward()
                step_by_hand(twin, 0.5, twin.optimizer.step)
            loss, _ = run.backward(), twin.backward()
        replay = capture(run, 0.5)
        run.order(0.25)
        for step in range(6):
            for one in (run, twin):
                one.rate.fill_(0.01 * 0.9**step)  # the schedule goes on, and is heard
            replay()
            tuner.step(loss)
            step_by_hand(twin, 0.5, twin.optimizer.step)
            assert float(run.rate) == float(twin.rate)
        torch.testing.assert_close(run.weights(), twin.weights())
        tuner.report({"loss": 1.0})
        stands = tuner.knobs["opt.lr"]
        assert (stands.life, stands.reason) == ("disabled", Reason.NOT_LIVE)


# Snapshots


@pytest.mark.parametrize("make", [sgd, adam])
@pytest.mark.parametrize("device", DEVICES)
def test_a_snapshot_goes_back_to_the_bit_and_into_the_same_memory(device: str, make: Make) -> None:
    run, twin = Run(device, make), Run(device, make)
    for one in (run, twin, run, twin):
        one.step()
    state = gptune.TrainingState(run.model, run.optimizer)
    state.save("last")
    before, places = run.learnt(), [p.data_ptr() for p in run.model.parameters()]
    for _ in range(2):  # it serves again
        run.step()
        with torch.no_grad():
            for held in run.optimizer.state.values():
                for tensor in (t for t in held.values() if isinstance(t, Tensor)):
                    tensor.fill_(math.nan)
            for parameter in run.model.parameters():
                parameter.fill_(math.inf)
        assert not state.is_sound()
        state.restore("last")
        assert state.is_sound()
        assert run.learnt() == before
    assert [p.data_ptr() for p in run.model.parameters()] == places
    for one in (run, twin):
        one.step()
    assert run.learnt() == twin.learnt()


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_copied_from_a_gpu_lies_in_pinned_memory_of_the_computer(device: str) -> None:
    run = Run(device, adam)
    run.step()
    live = [dict(run.model.named_parameters()), dict(run.optimizer.state)]
    sources, copied = copies.split(live).tensors, copies.take(live).tensors
    assert len(sources) == len(copied) == 16  # four parameters; two moments and a count of each
    for source, tensor in zip(sources, copied, strict=True):
        assert tensor.device.type == "cpu"
        assert tensor.is_pinned() == source.is_cuda
        assert bits(tensor) == bits(source)


@pytest.mark.parametrize("device", DEVICES)
def test_a_saved_state_brings_the_devices_chance_back_too(device: str) -> None:
    run = Run(device, adam)
    run.step()
    state, file = gptune.TrainingState(run.model, run.optimizer), io.BytesIO()
    torch.save(state.state_dict(), file)
    file.seek(0)
    before, drawn = run.learnt(), torch.rand(5, device=device)
    run.step()
    state.load_state_dict(torch.load(file, weights_only=True))
    assert run.learnt() == before
    assert torch.equal(torch.rand(5, device=device), drawn)


# The reference loop


@pytest.mark.parametrize("device", DEVICES)
def test_a_fit_in_bf16_ends_finite_and_on_its_device(device: str, tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(4)
    x = torch.randn(320, 6, generator=chance)
    data = TensorDataset(x, x.sin().sum(1, keepdim=True))
    train, held_out = torch.utils.data.random_split(data, [256, 64], generator=chance)
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.1), nn.Linear(12, 1))
    optimizer = AdamW(model.parameters(), lr=1e-3)
    done = gptune.fit(
        model,
        optimizer,
        nn.functional.mse_loss,
        DataLoader(train, 16, shuffle=True),
        DataLoader(held_out, 32),
        epochs=20,
        precision="bf16",
        device=device,
        tuner={"run_dir": tmp_path / "run"},
        progress=False,
    )
    assert done.tuner is not None
    assert done.tuner.steps == done.history[-1].step == 320
    losses = [one.val_loss for one in done.history]
    assert all(loss is not None and math.isfinite(loss) for loss in losses)
    assert min(loss for loss in losses[-5:] if loss is not None) < (losses[0] or 0.0)
    moments = [held["exp_avg"] for held in optimizer.state.values()]
    for tensor in (*model.parameters(), *moments):
        assert tensor.device.type == device
        assert tensor.dtype == torch.float32
        assert bool(tensor.isfinite().all())
