"""All scenarios, by kind of fault."""

from __future__ import annotations

from tests.faults.scenarios import drivers, files, inputs, machine, processes, records
from tests.faults.trial import Scenario

SCENARIOS: tuple[Scenario, ...] = (
    *processes.SCENARIOS,
    *files.SCENARIOS,
    *inputs.SCENARIOS,
    *machine.SCENARIOS,
    *records.SCENARIOS,
    *drivers.SCENARIOS,
)
