"""EKS alone: tables of any tool, smoothed as the ensemble of a run is.

```
tables → sessions → plan → executor (load, smooth)
```
Stands beside the planning of a run, and shares its executors, stages and ledger. `smooth` is the
public function `raypose.smooth`.
"""

from __future__ import annotations

from typing import Any

from raypose import scratch
from raypose.config import SmoothConfig
from raypose.pipeline import Display, RunResult, carry_out, run_directory
from raypose.smoothing.plan import SmoothPlan, make_smooth_plan, smooth_tasks

__all__ = ["SmoothPlan", "make_smooth_plan", "smooth"]


def smooth(config: SmoothConfig, *, display: Display | None = None) -> RunResult[SmoothPlan]:
    """Smooth what is not smoothed yet; see `SmoothConfig` for what there is to ask for.

    Args:
        config: what to smooth.
        display: is told what happens.

    Returns:
        What came of it. One failure stays one failure: look at `RunResult.failures`.

    Raises:
        RayposeError: nothing could be smoothed at all.
        KeyboardInterrupt: it was stopped; what is done stays done.
    """
    with scratch.used(config.scratch_dir, config.scratch_gb):
        made = make_smooth_plan(config, run_dir=run_directory(config, config.eks_dir))
        return carry_out(
            made,
            lambda _: [smooth_tasks(step, config) for step in made.pending],
            description=_description(made),
            config=config,
            display=display,
        )


def _description(made: SmoothPlan) -> dict[str, Any]:
    """What `run.json` says of the plan, to be read without the code that made it."""
    return {
        "sessions": [
            {
                "name": step.session.name,
                "members": list(step.session.members),
                "views": list(step.session.views),
                "tables": [[str(table) for table in view] for view in step.session.tables],
                "outputs": [str(path) for path in step.paths],
                "done_before": step.done,
            }
            for step in made.sessions
        ],
    }
