"""What the model believed, moment by moment."""

from pathlib import Path

from gptune.events import Applied, Event, Observed, Proposed, RolledBack
from gptune.records import Change, Slice
from gptune.report.beliefs import KNOBS, MOST, films_of
from gptune.report.drawing import SIDE
from tests.logs import knob, opened
from tests.report.pages import real_run, run_of

SLICE = Slice(at=(0.0, 0.5, 1.0), mean=(0.0, 1.0, 0.0), deviation=(0.1, 0.2, 0.3))


def believed(family: str, old: float = 1.0, new: float = 2.0) -> Proposed:
    change = (Change(family, old, new),)
    return Proposed(changes=change, source="gp", slices={family: SLICE})


def test_a_film_has_a_frame_a_proposal_with_where_the_knob_was_and_was_to_go() -> None:
    run = run_of((0, opened()), (1, Observed(metric=1.0)), (1, believed("loss.aux")))
    (film,) = films_of(run)
    (frame,) = film.frames
    assert film.family == "loss.aux"
    assert frame["at"] == [0, SIDE // 2, SIDE]
    assert frame["mean"][1] < frame["mean"][0]  # larger lies higher
    assert all(
        h <= m <= low for h, m, low in zip(frame["high"], frame["mean"], frame["low"], strict=True)
    )
    assert frame["old"] == SIDE // 2 < frame["new"] < SIDE
    assert frame["when"].startswith("decision 1, step 10: loss.aux x1 ")
    assert "x1" in [text for _, text in film.across]


def test_what_had_been_tried_is_shown_and_what_was_to_come_is_not() -> None:
    change = (Change("loss.aux", 1.0, 2.0),)
    back = RolledBack(id="1:loss.aux", changes=change, reasons=())
    told: list[tuple[int, Event]] = [
        (0, opened()),
        (1, Observed(metric=1.0)),
        (1, believed("loss.aux")),
    ]
    told += [(1, Applied(id="1:loss.aux", changes=change, read_back={})), (2, Observed(metric=1.0))]
    told += [(2, back), (3, Observed(metric=1.0)), (3, believed("loss.aux"))]
    (film,) = films_of(run_of(*told))
    assert [frame["undone"] for frame in film.frames] == [[], [film.frames[0]["new"]]]
    assert all(frame["kept"] == [] for frame in film.frames)


def test_a_long_film_is_cut_evenly_and_says_how_long_it_was() -> None:
    told: list[tuple[int, Event]] = [(0, opened())]
    for n in range(1, 2 * MOST):
        told += [(n, Observed(metric=1.0)), (n, believed("loss.aux"))]
    (film,) = films_of(run_of(*told))
    assert (len(film.frames), film.there) == (MOST, 2 * MOST - 1)
    assert film.frames[0]["when"].startswith("decision 1,")
    assert film.frames[-1]["when"].startswith(f"decision {2 * MOST - 1},")


def test_only_so_many_knobs_have_a_film_and_one_without_a_known_space_has_one_too() -> None:
    families = [f"loss.k{n}" for n in range(KNOBS + 3)]
    told: list[tuple[int, Event]] = [(0, opened(knobs={families[0]: knob()}))]
    told += [(n, believed(family)) for n, family in enumerate(families, start=1)]
    assert len(films_of(run_of(*told))) == KNOBS


def test_a_real_run_has_films(tmp_path: Path) -> None:
    (film,) = films_of(real_run(tmp_path))
    assert len(film.frames) > 3
    assert all(len(frame["at"]) == 33 for frame in film.frames)
