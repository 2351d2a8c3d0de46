"""Where the tasks' data come from, and the models that learn them."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

Split = tuple[Tensor, Tensor]
Losses = Callable[[Tensor, Tensor], Tensor]

CONTEXT = 8  # characters seen before the next one
LETTERS = "\n" + "".join(map(chr, range(32, 127)))  # all others are read as a blank
# The library's own modules, told apart by what they are for; their text differs a little between
# versions of Python, so losses of two versions are not compared.
BOOKS = {
    "training": ("argparse", "ast", "configparser", "csv", "difflib", "dis", "doctest", "enum",
                 "ftplib", "functools", "heapq", "inspect", "mailbox", "optparse", "pickle"),
    "validation": ("textwrap", "shutil"),
    "test": ("tarfile", "statistics"),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A task's data and model."""

    build: Callable[[], nn.Module]
    training: Split
    validation: Split
    test: Split
    losses: Losses
    test_losses: Losses | None = None


def _cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def _squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs.squeeze(-1) - targets).square()


@cache
def _digits() -> Split:
    """All of scikit-learn's digits in one fixed order, shapes ``(1797, 64)`` and ``(1797,)``."""
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(2026))
    x = torch.tensor(images / 16.0, dtype=torch.float32)
    return x[order], torch.tensor(labels).long()[order]


def _noisy_digits(chance: Generator, share: float) -> tuple[Split, Split, Split]:
    """Split the digits; a share of the training labels is drawn at random."""
    x, y = _digits()
    noisy = torch.rand(1000, generator=chance) < share
    drawn = torch.randint(0, 10, (1000,), generator=chance)
    labels = torch.where(noisy, drawn, y[:1000])
    return (x[:1000], labels), (x[1000:1400], y[1000:1400]), (x[1400:], y[1400:])


def digits_ln(chance: Generator) -> Source:
    """Digits with a tenth of label noise, and a small perceptron."""
    training, validation, test = _noisy_digits(chance, 0.1)
    return Source(
        build=lambda: nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)),
        training=training,
        validation=validation,
        test=test,
        losses=_cross_entropy,
    )


def digits_conv(chance: Generator) -> Source:
    """Digits with a fifth of label noise, and a small convolutional network with batch norm."""
    training, validation, test = _noisy_digits(chance, 0.2)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 12, 3, padding=1, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(24 * 16, 10),
        )

    return Source(
        build=build, training=training, validation=validation, test=test, losses=_cross_entropy
    )


def teacher(chance: Generator) -> Source:
    """A tanh teacher on ill-conditioned inputs; targets are noisy, the test's are clean."""
    fixed = torch.Generator().manual_seed(7)  # the teacher is the same for all seeds
    scales = torch.logspace(0, -1.5, 16) * 2
    inner = torch.randn(16, 24, generator=fixed) / scales.unsqueeze(-1).sqrt() / 4
    outer = torch.randn(24, generator=fixed) / 24**0.5 * 2

    def draw(count: int, noise: float) -> Split:
        x = torch.randn(count, 16, generator=chance) * scales
        clean = torch.tanh(x @ inner) @ outer
        return x, clean + noise * torch.randn(count, generator=chance)

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Linear(16, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1)
        )

    return Source(
        build=build,
        training=draw(2000, 0.3),
        validation=draw(500, 0.3),
        test=draw(2000, 0.0),
        losses=_squared,
    )


@cache
def _text(part: str) -> Tensor:
    """The characters of some of Python's own modules as numbers, shape ``(n,)``."""
    codes = []
    for name in BOOKS[part]:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise FileNotFoundError(f"the text of {name}.py is not on this machine")
        text = Path(spec.origin).read_text(encoding="utf-8")
        codes += [max(LETTERS.find(letter), 0) for letter in text]
    return torch.tensor(codes)


def characters(chance: Generator) -> Source:
    """The next character of Python's own library, from the eight before it."""

    def draw(part: str, count: int) -> Split:
        text = _text(part)
        rows = torch.randint(0, len(text) - CONTEXT, (count,), generator=chance)
        windows = text[rows.unsqueeze(-1) + torch.arange(CONTEXT + 1)]
        return windows[:, :CONTEXT], windows[:, CONTEXT]

    def build() -> nn.Module:
        return nn.Sequential(
            nn.Embedding(len(LETTERS), 16),
            nn.Flatten(),
            nn.Linear(16 * CONTEXT, 96),
            nn.ReLU(),
            nn.Linear(96, len(LETTERS)),
        )

    return Source(
        build=build,
        training=draw("training", 30_000),
        validation=draw("validation", 1000),
        test=draw("test", 2000),
        losses=_cross_entropy,
    )


class Quadratic(nn.Module):
    """A point in 64 dimensions, and how steep the bowl around 0 is along each."""

    def __init__(self) -> None:
        super().__init__()
        self.place = nn.Parameter(torch.ones(64))
        self.register_buffer("curvature", torch.logspace(0, -2.5, 64))

    def forward(self, pull: Tensor) -> Tensor:
        """Give the excess loss under each pull, shape ``(m,)`` for pulls of shape ``(m, 64)``."""
        curvature = self.get_buffer("curvature")
        return (curvature * (self.place.square() / 2 - self.place * pull)).sum(-1)


def nqm(chance: Generator) -> Source:
    """The noisy quadratic: every example pulls the optimum elsewhere; it lies at 0 in the mean."""

    def draw(count: int, noise: float) -> Split:
        pulls = torch.randn(count, 64, generator=chance) * noise
        return pulls - pulls.mean(0), torch.zeros(count)

    return Source(
        build=Quadratic,
        training=draw(4000, 1.0),
        validation=draw(500, 1.0),
        test=draw(2, 0.0),
        losses=lambda outputs, _: outputs,
    )


SOURCES: dict[str, Callable[[Generator], Source]] = {
    "digits_ln": digits_ln,
    "teacher": teacher,
    "digits_conv": digits_conv,
    "characters": characters,
    "nqm": nqm,
}
