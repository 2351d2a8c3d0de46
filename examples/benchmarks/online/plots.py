"""The plot for the documentation: losses over the user's rate, all methods, as SVG."""

import math
from collections.abc import Sequence
from pathlib import Path

from examples.benchmarks.online.figures import FACTORS, Results

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 420, 70, 46, 190, 50
TICKS = (0.9, 1, 1.5, 2, 3, 5, 8, 12)
LINES = (
    ("plain", "cosine", "cosine", "#6b7280", ""),
    ("plain", "wsd", "warmup-stable-decay", "#a3a3a3", "5 4"),
    ("plateau", "own", "ReduceLROnPlateau", "#c084fc", ""),
    ("schedule_free", "own", "schedule-free", "#38bdf8", ""),
    ("prodigy", "cosine", "Prodigy", "#f59e0b", ""),
    ("autotunenet", "own", "AutoTuneNet", "#ef4444", "2 3"),
    ("autolrs", "own", "AutoLRS", "#f472b6", "2 3"),
    ("calibrate", "cosine", "gptune on cosine", "#15803d", ""),
    ("calibrate", "wsd", "gptune on wsd", "#15803d", "5 4"),
)


def draw(results: Results, folder: Path, tasks: Sequence[str]) -> None:
    """Draw ``ratios.svg``: test loss over the reference, mean over tasks, for each first rate.

    Args:
        results: The rows.
        folder: Where to.
        tasks: The tasks of the mean.
    """
    lines = []
    for method, shape, label, colour, dash in LINES:
        if results.has(method):
            points = [
                (factor, results.ratios(method, shape, [factor], tasks).geomean)
                for factor in sorted(FACTORS)
            ]
            lines.append((label, colour, dash, points))
    (folder / "ratios.svg").write_text(svg(lines))


Line = tuple[str, str, str, list[tuple[float, float]]]


def svg(lines: Sequence[Line]) -> str:
    """Write a chart of lines over log axes.

    Args:
        lines: Label, colour, dashes, and points ``(rate factor, ratio)``.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="24" font-size="15" font-weight="600">'
        "Final test loss, in units of the best tuned schedule's</text>",
        *_axes(),
    ]
    labels = _spread([(_y(points[-1][1]), n) for n, (*_, points) in enumerate(lines)])
    for number, (label, colour, dash, points) in enumerate(lines):
        path = " ".join(f"{_x(rate):.1f},{_y(ratio):.1f}" for rate, ratio in points)
        width = 3 if label.startswith("gptune") else 1.8
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}" '
            f'stroke-dasharray="{dash}"/>'
        )
        x, y = WIDTH - RIGHT + 12, labels[number]
        parts.append(f'<text x="{x}" y="{y + 4:.1f}" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes() -> list[str]:
    parts = []
    for tick in TICKS:
        y, colour = _y(tick), "#111827" if tick == 1 else "#e5e7eb"
        parts.append(
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{colour}"/>'
            f'<text x="{LEFT - 10}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>'
        )
    for factor in sorted(FACTORS):
        parts.append(
            f'<text x="{_x(factor):.1f}" y="{HEIGHT - BOTTOM + 22}" text-anchor="middle">'
            f"x{factor:g}</text>"
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">'
        "learning rate that the user chose, in units of a good one</text>"
    )
    return parts


def _spread(wanted: Sequence[tuple[float, int]], gap: float = 16.0) -> dict[int, float]:
    """Move labels apart that would cover each other."""
    placed: dict[int, float] = {}
    last = -math.inf
    for y, number in sorted(wanted):
        last = max(y, last + gap)
        placed[number] = last
    return placed


def _x(factor: float) -> float:
    low, high = math.log10(min(FACTORS)), math.log10(max(FACTORS))
    return LEFT + (math.log10(factor) - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def _y(ratio: float) -> float:
    low, high = math.log(TICKS[0]), math.log(TICKS[-1])
    inside = min(max(math.log(max(ratio, 1e-9)), low), high)
    return TOP + (high - inside) / (high - low) * (HEIGHT - TOP - BOTTOM)
