"""What gptune raises.

Every error of gptune's own is a `GptuneError`, so one ``except`` catches them all, and also the
built-in error that a reader would expect::

    GptuneError
    ├── RecipeError(ValueError)          a recipe, a space or an argument of Tuner is wrong
    │   └── SpaceError                   a search space or one of its parameters is wrong
    ├── ActuatorError(ValueError)        a knob cannot be made from what was given
    ├── EventLogError(ValueError)        events.jsonl is not what gptune wrote
    ├── RunDirectoryError(RuntimeError)  the run directory cannot be written, is owned or is used
    ├── ContractError(AssertionError)    an actuator of somebody's own breaks the contract
    ├── UsageError(ValueError)           a command line that says too much, too little or no sense
    ├── CriterionError(ValueError)       an acquisition function gave nothing usable
    ├── StudyError(ValueError)           a study, or a call of it, is wrong
    │   ├── StorageError                 the file of studies cannot be used
    │   └── WorkerLostError              an executor's worker died, and its trial with it
    └── StateError(RuntimeError)         a call out of order, or a state_dict that does not fit

A message says who, which rule, what was given, and what to do. gptune's own failures *during*
training are never raised out of ``step`` or ``report`` (unless ``safety.on_error: raise``): they
block the decision and are written to the log.
"""


class GptuneError(Exception):
    """The root of everything that gptune raises."""


class RecipeError(GptuneError, ValueError):
    """A recipe, or an argument that stands for a part of one, is wrong."""


class SpaceError(RecipeError):
    """A search space, or one of its parameters, is wrong."""


class ActuatorError(GptuneError, ValueError):
    """A knob cannot be made from what was given."""


class EventLogError(GptuneError, ValueError):
    """A line of ``events.jsonl`` is not what gptune wrote."""


class RunDirectoryError(GptuneError, RuntimeError):
    """The run directory cannot be written, is owned by a live process, or is already used."""


class ContractError(GptuneError, AssertionError):
    """An actuator breaks the contract that ``gptune.testing`` checks; says which rule, and how."""


class UsageError(GptuneError, ValueError):
    """A command line says too much, too little, or what makes no sense."""


class CriterionError(GptuneError, ValueError):
    """An acquisition function gave values of the wrong shape, or nothing but NaN."""


class StateError(GptuneError, RuntimeError):
    """A call came out of order, or a ``state_dict`` does not fit this Tuner."""


class StudyError(GptuneError, ValueError):
    """A study does not exist, exists already, was made differently, or is called wrongly."""


class StorageError(StudyError):
    """The file that studies are kept in cannot be opened, read or written, or is not gptune's."""


class WorkerLostError(StudyError):
    """What an executor's future raises whose worker died: the trial is begun again, once."""


class TrialPruned(Exception):
    """Raise it in an objective to end a trial that is not worth going on with; no error."""
