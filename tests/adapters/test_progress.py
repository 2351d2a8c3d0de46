"""The bar of the reference loop; what it shows in a run is in `test_loop`."""

import sys

import pytest

from gptune.adapters.progress import progress_bar, show


@pytest.mark.parametrize("wanted", [True, False, None])
def test_a_bar_shows_steps_and_words_if_somebody_watches(
    wanted: bool | None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    with progress_bar(8, wanted=wanted) as bar:
        show(bar, 4, "epoch 1  training 0.5")
        assert bar.tasks[0].completed == 4
    shown = capsys.readouterr().err
    assert ("epoch 1  training 0.5" in shown) is bool(wanted)
