"""The plan: what there is to make, compared with what is finished.

`plan_run` opens the models, inspects the videos, puts those of one recording together, and checks
which outputs are finished; `plan_smoothing` does the same for existing tables. Both return a
`Plan`, which `plan_tasks` turns into tasks. Nothing is written and nothing is computed here.

(The package is not called `plan` because `raypose.plan` is the function of that name.)
"""

from raypose.planning.graph import plan_tasks
from raypose.planning.model import OutputPlan, Plan, Problem, RecordingPlan, VideoPlan
from raypose.planning.prediction import check_run, plan_run, without_clashes
from raypose.planning.smoothing import plan_smoothing

__all__ = [
    "OutputPlan",
    "Plan",
    "Problem",
    "RecordingPlan",
    "VideoPlan",
    "check_run",
    "plan_run",
    "plan_smoothing",
    "plan_tasks",
    "without_clashes",
]
