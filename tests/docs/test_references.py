"""The pages that are made of the code are what the code says now."""

import msgspec
import pytest

from docs.references import DOCS, PAGES
from gptune.configs import Recipe
from gptune.events import KINDS
from gptune.run_directory import names


@pytest.mark.parametrize("page", PAGES)
def test_what_is_committed_is_what_would_be_written(page: str) -> None:
    assert (DOCS / page).read_text() == PAGES[page](), "run python -m docs.references"


def test_the_page_on_the_run_directory_names_every_file() -> None:
    page = (DOCS / "run_directory.md").read_text()
    elsewhere = {names.RUNS, names.DEFAULT_RUNS}
    files = {value for name, value in vars(names).items() if name.isupper()} - elsewhere
    assert not [file for file in files if f"| `{file}" not in page]


def test_every_field_and_every_kind_of_event_stands_there() -> None:
    recipe, events = PAGES["recipe_reference.md"](), PAGES["event_reference.md"]()
    assert all(f"\n## {kind}\n" in events for kind in KINDS)
    fields = {field.name for field in msgspec.structs.fields(Recipe)}
    assert all(f"| `{name}` |" in recipe for name in fields)
