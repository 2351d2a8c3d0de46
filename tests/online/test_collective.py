"""Alone, the plan is the plan."""

from pathlib import Path

from gptune import Tuner
from gptune.configs import Mode
from gptune.events import Moment
from gptune.online.collective import alone
from gptune.online.decision import Plan
from gptune.online.decision.state import Draft
from tests.training import Training, run_decisions


def test_alone_every_plan_is_carried_out_as_it_is() -> None:
    moment = Moment(decision=1, step=1, phase="early")
    made = Plan(draft=Draft(moment=moment, observed=None), mode=Mode.ACTIVE)
    assert alone(made) is made


def test_every_plan_of_a_run_goes_through_the_broadcast(tmp_path: Path) -> None:
    plans: list[Plan] = []

    def broadcast(plan: Plan) -> Plan:
        plans.append(plan)
        return plan

    training = Training()
    with Tuner(training.optimizer, run_dir=tmp_path / "run", broadcast=broadcast) as tuner:
        run_decisions(training, tuner, [1.0] * 4)
    assert [plan.draft.moment.decision for plan in plans] == [1, 2, 3, 4]
