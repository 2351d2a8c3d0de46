"""``gptune report``: which run or study is meant, where the file goes, and what is refused."""

import subprocess
import sys
import webbrowser
from pathlib import Path

import pytest

from gptune import Float, RandomSampler, Study
from gptune.cli import main
from gptune.report.page import MARK
from gptune.run_directory.names import REPORT
from tests.cli.runs import make_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("here") / "runs"
    for name in ("a", "b"):
        make_run(root / name, 12)
    return root


@pytest.fixture
def here(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a new directory; the newest run is ``b``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GPTUNE_RUNS", str(runs))
    return tmp_path


def study_in(file: Path, name: str = "first", trials: int = 6) -> None:
    with Study(name, storage=file, space={"x": Float(0.0, 1.0)}, sampler=RandomSampler()) as study:
        study.optimize(lambda params: (float(params["x"]) - 0.3) ** 2, n_trials=trials)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["report", *words]) == 2
    return capsys.readouterr().err


def test_the_newest_run_or_the_one_named_gets_its_report(
    here: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words, run in (([], "b"), ([str(runs / "a")], "a")):
        assert main(["report", *words]) == 0
        path = Path(capsys.readouterr().out.strip())
        assert path.samefile(runs / run / REPORT)
        assert f"<title>{run}" in path.read_text()
    assert main(["--dir", str(runs / "a"), "report", "--out", "x.html"]) == 0
    assert "<title>a" in (here / "x.html").read_text()


def test_several_runs_go_into_one_file_here(here: Path, runs: Path) -> None:
    assert main(["report", str(runs / "a"), str(runs / "b")]) == 0
    assert "2 runs of" in (here / REPORT).read_text()


def test_a_study_is_reported_with_the_importance_of_its_parameters(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_in(here / "s.db")
    assert main(["report", "s.db"]) == 0
    assert capsys.readouterr().out.strip() == f"first-{REPORT}"
    text = (here / f"first-{REPORT}").read_text()
    assert 'class="bar"' in text


def test_a_study_without_enough_trials_says_why_it_has_no_importance(here: Path) -> None:
    study_in(here / "s.db", "a/../b", 1)
    assert main(["report", "sqlite:///s.db"]) == 0
    assert "needs 4 finished trials" in (here / f"a-..-b-{REPORT}").read_text()


def test_of_several_studies_one_has_to_be_named(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study_in(here / "s.db", "one", 1)
    study_in(here / "s.db", "two", 1)
    assert "'one', 'two'" in refused(capsys, "s.db")
    assert "valid: " in refused(capsys, "s.db", "--study", "three")
    assert main(["report", "s.db", "--study", "two"]) == 0
    assert (here / f"two-{REPORT}").is_file()


def test_the_repeats_of_a_study_are_not_taken_for_another_one(here: Path) -> None:
    study_in(here / "s.db", "first", 1)
    study_in(here / "s.db", "first/validation", 1)
    assert main(["report", "s.db"]) == 0
    assert (here / f"first-{REPORT}").is_file()


@pytest.mark.parametrize(
    "case",
    [
        (["nothing"], "holds no events.jsonl"),
        (["s.db", "RUN"], "give either"),
        (["--study", "x"], "give the file"),
        (["s.db", "--twin", "x"], "--twin: names a run"),
        (["RUN", "RUN", "--twin", "x"], "is about one run"),
        (["--twin", "nothing"], "holds no events.jsonl"),
        (["notes.txt"], "no SQLite file"),
        (["--out", "notes.txt"], "is no report"),
        (["--out", "."], "cannot be written"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_nothing_is_written(
    here: Path, runs: Path, case: tuple[list[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    words, said = case
    study_in(here / "s.db", trials=1)
    (here / "notes.txt").write_text("mine, and dear to me")
    before = sorted(here.iterdir())
    assert said in refused(capsys, *[str(runs / "a") if w == "RUN" else w for w in words])
    assert sorted(here.iterdir()) == before
    assert (here / "notes.txt").read_text() == "mine, and dear to me"


def test_a_report_is_written_anew_and_what_is_none_is_not_overwritten(
    here: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "x.html").write_text(f"<html><head>{MARK} 0.0.1")
    assert main(["report", "--out", "x.html"]) == 0
    assert "<title>b" in (here / "x.html").read_text()
    link = here / "link.html"
    (here / "mine.html").write_text("<html>mine</html>")
    link.symlink_to(here / "mine.html")
    assert "is no report" in refused(capsys, "--out", "link.html")
    assert (here / "mine.html").read_text() == "<html>mine</html>"


def test_it_is_opened_if_asked_for_and_without_a_browser_that_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []

    def refuse(url: str) -> bool:
        asked.append(url)
        return False

    monkeypatch.setattr(webbrowser, "open", refuse)
    assert main(["report", "--open", "--out", "x.html"]) == 0
    assert asked == [(here / "x.html").resolve().as_uri()]
    assert "no browser" in capsys.readouterr().err


def test_no_report_loads_torch(here: Path, runs: Path) -> None:
    study_in(here / "s.db", trials=1)
    code = (
        "import sys; from gptune.cli import main; "
        "assert main(['report', '--out', 'r.html', *sys.argv[1:]]) == 0; "
        "assert not {'torch', 'numpy', 'scipy', 'plotly'} & set(sys.modules)"
    )
    for words in ([str(runs / "a")], [str(runs / "a"), str(runs / "b")], ["s.db"]):
        subprocess.run([sys.executable, "-c", code, *words], check=True, cwd=here)


def test_a_run_is_not_changed_by_its_report(here: Path, runs: Path) -> None:
    before = (runs / "a" / "events.jsonl").read_bytes()
    assert main(["report", str(runs / "a")]) == 0
    assert main(["verify", str(runs / "a")]) == 0
    assert (runs / "a" / "events.jsonl").read_bytes() == before
