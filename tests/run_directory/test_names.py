"""The names in a run directory."""

from gptune.run_directory import names


def test_no_two_things_lie_in_one_place() -> None:
    files = [value for name, value in vars(names).items() if name.isupper() and "RUNS" not in name]
    assert len(files) == len(set(files)) == 10
