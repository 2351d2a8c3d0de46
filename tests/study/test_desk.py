"""Where trials write down what happens to them; the rest is in `test_study`."""

from gptune.study.desk import Desk
from gptune.study.pruners import NoPruner, Race, ThresholdPruner
from gptune.study.samplers import RandomSampler
from gptune.study.study import Study


def test_a_pruner_sees_the_others_and_not_the_trial_itself() -> None:
    seen: list[Race] = []

    class Watches:
        def prunes(self, race: Race) -> bool:
            seen.append(race)
            return False

    study = Study("one", sampler=RandomSampler(), pruner=Watches(), direction="maximize")
    first, second = study.ask(), study.ask()
    first.report(1.0, 0)
    second.report(2.0, 0)
    assert not second.should_prune()
    (race,) = seen
    assert race.trial.number == 1
    assert [one.number for one in race.others] == [0]
    assert race.sign == 1.0


def test_without_a_report_nobody_is_asked() -> None:
    study = Study("one", sampler=RandomSampler(), pruner=ThresholdPruner(upper=0.0))
    trial = study.ask()
    assert not trial.should_prune()
    trial.report(1.0, 0)
    assert trial.should_prune()


def test_by_default_nothing_is_pruned() -> None:
    study = Study("one", sampler=RandomSampler())
    desk = Desk(study.storage, study.record, None)
    assert isinstance(desk.pruner, NoPruner)
