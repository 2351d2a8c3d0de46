"""How far the reference loop has come, for whoever watches."""

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import Progress, TextColumn


@contextlib.contextmanager
def progress_bar(total: int, *, wanted: bool | None) -> Iterator[Progress]:
    """Show a bar with room for words.

    Args:
        total: Steps of the whole run [steps].
        wanted: Whether to show it; ``None``: if somebody watches.
    """
    shown = sys.stderr.isatty() if wanted is None else wanted
    columns = (*Progress.get_default_columns(), TextColumn("{task.fields[said]}"))
    with Progress(*columns, console=Console(stderr=True), disable=not shown) as bar:
        bar.add_task("training", total=total, said="")
        yield bar


def show(bar: Progress, step: int, said: str) -> None:
    """Show how far it is [steps], and some words."""
    bar.update(bar.task_ids[0], completed=step, said=said)
