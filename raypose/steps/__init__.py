"""All kinds of steps. `raypose.steps.base` says what a step is, `execute` runs one."""

from raypose.steps.base import Step, Summary, TableStep, Task
from raypose.steps.export import Export
from raypose.steps.label import Label
from raypose.steps.load import Load
from raypose.steps.metrics import Metrics
from raypose.steps.predict import Predict
from raypose.steps.quality import Quality
from raypose.steps.review import Review
from raypose.steps.smooth import Smooth
from raypose.steps.snippet import Snippet
from raypose.steps.table import Table
from raypose.steps.timestamps import Timestamps
from raypose.steps.worst import Worst

__all__ = [
    "STEPS",
    "TABLE_STEPS",
    "Export",
    "Label",
    "Load",
    "Metrics",
    "Predict",
    "Quality",
    "Review",
    "Smooth",
    "Snippet",
    "Step",
    "Summary",
    "Table",
    "Task",
    "Timestamps",
    "Worst",
]

TABLE_STEPS: tuple[type[TableStep], ...] = (
    Metrics,
    Quality,
    Review,
    Timestamps,
    Export,
    Label,
    Snippet,
    Worst,
)
"""What can be made from a table of keypoints, in the order in which it is planned."""

_ALL: tuple[type[Step], ...] = (Predict, Table, Load, Smooth, *TABLE_STEPS)

STEPS = {step.name: step for step in _ALL}
"""Every kind of step by its name."""
