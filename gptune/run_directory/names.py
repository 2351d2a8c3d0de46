"""What lies where in a run directory, and where run directories lie."""

EVENTS = "events.jsonl"  # the authority
RECIPE = "recipe.yaml"  # as used, or as found
SUMMARY = "summary.json"  # where the run stands
LOCK = "lock"  # names the owner
COMMANDS, ANSWERS = "commands", "answers"  # of another terminal
FREEZE = "freeze.json"  # shuts outside commands out
RANK = "rank-"  # and a number: what another process that trains the same model keeps
REPORT = "report.html"  # for people
TWIN = "twin"  # a run directory: the same run, in which gptune changed nothing

RUNS = "GPTUNE_RUNS"  # environment variable: where new run directories go
DEFAULT_RUNS = "runs"
