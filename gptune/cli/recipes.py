"""``gptune recipe``: check, show and import recipes; none of it loads torch."""

import argparse
import json
import sys
from pathlib import Path

from gptune.cli.learning import add_learning
from gptune.errors import RecipeError, UsageError

FILE = "a .yaml, .yml or .json file"


def add_recipes(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the verb and what it can do."""
    recipe = commands.add_parser(
        "recipe",
        help="check, show, import or learn a recipe: all that you chose for a run",
        description="Works on recipes, the files that hold all that you chose for a run. Exit "
        "code 2 and a message that names the file and the field where something is wrong.",
    )
    verbs = recipe.add_subparsers(title="verbs", metavar="VERB", required=True)
    _add_validate(verbs)
    _add_show(verbs)
    _add_schema(verbs)
    _add_import(verbs)
    add_learning(verbs)


def _add_validate(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "validate",
        help="say whether recipes are in order",
        description="Reads each file and says what is wrong with it, if anything.",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help=FILE)
    parser.set_defaults(run=validate)


def _add_show(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "show",
        help="print a whole recipe, the defaults filled in",
        description="Prints every field of a recipe as YAML: the default recipe, or a file's with "
        "the defaults filled in. Its output is a recipe itself, to start from.",
    )
    parser.add_argument("file", nargs="?", metavar="FILE", help=f"{FILE} (default: the defaults)")
    parser.add_argument("--json", action="store_true", help="print JSON instead")
    parser.set_defaults(run=show)


def _add_schema(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "schema",
        help="print the JSON Schema of a recipe",
        description="Prints the JSON Schema of a recipe, for editors that check and complete as "
        "you type. gptune recipe validate checks more: limits, and how fields fit together.",
    )
    parser.set_defaults(run=schema)


def _add_import(verbs: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = verbs.add_parser(
        "import",
        help="turn a recipe of hotcb's tuner into one of gptune's",
        description="Reads a recipe of hotcb's tuner, or a larger file of hotcb's with a tune "
        "section, and prints it as a recipe of gptune's. Whatever was changed or left out is said "
        "on stderr, and in comments on top of a YAML file that --out writes.",
    )
    parser.add_argument("file", metavar="FILE", help=FILE)
    parser.add_argument("--out", metavar="FILE", help="write the recipe there, not to stdout")
    parser.add_argument("--force", action="store_true", help="overwrite what --out names")
    parser.set_defaults(run=import_recipe)


def validate(args: argparse.Namespace) -> int:
    """Say of each file that it is in order; all complaints come at the end, together."""
    from gptune.configs import Recipe

    _refuse_run(args)
    complaints = []
    for file in args.files:
        try:
            Recipe.load(file)
        except RecipeError as error:
            complaints.append(str(error))
        else:
            print(f"{file}: in order")
    if complaints:
        raise RecipeError("\n".join(complaints))
    return 0


def show(args: argparse.Namespace) -> int:
    """Print a whole recipe."""
    from gptune.configs import Recipe
    from gptune.configs.text import write

    _refuse_run(args)
    recipe = Recipe() if args.file is None else Recipe.load(args.file)
    data = recipe.to_dict()
    print(json.dumps(data, indent=2) if args.json else write(data).rstrip())
    return 0


def schema(args: argparse.Namespace) -> int:
    """Print the schema."""
    from gptune.recipe.schema import recipe_schema

    _refuse_run(args)
    print(json.dumps(recipe_schema(), indent=2))
    return 0


def import_recipe(args: argparse.Namespace) -> int:
    """Import a recipe of hotcb's; the recipe goes to stdout or a file, what changed to stderr."""
    from gptune.configs.text import write
    from gptune.recipe.hotcb import load_hotcb

    _refuse_run(args)
    if args.out is not None and Path(args.out).exists() and not args.force:
        raise UsageError(f"--out: {args.out!r} is there already; name another, or add --force")
    recipe, changes = load_hotcb(args.file)
    if args.out is None:
        print(write(recipe.to_dict()).rstrip())
    else:
        recipe.save(args.out, comments="\n".join(changes))
    for change in changes:
        print(f"# {change}", file=sys.stderr)
    return 0


def _refuse_run(args: argparse.Namespace) -> None:
    if args.dir is not None:
        raise UsageError(
            f"--dir: names a run, got {args.dir!r}, and this is not about one; omit it"
        )
