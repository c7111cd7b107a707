"""Faults on purpose: what happens to a run if processes, disks, inputs or the machine fail.

`python -m tests.faults --minutes 30` tries scenario after scenario and writes the figures of
docs/reliability.md; pytest tries a few of them (`test_scenarios.py`).

```
scenarios/*.py    what is done to a run, and when
trial.py          one scenario on one output folder: disturb, run the same command again, compare
job.py            the small job, its undisturbed result, and the comparison with it
command.py        `raypose run` in a session of its own
processes.py      who is who among the processes of a run
preload.c         faults of files and of the clock inside a process
results.py        verdicts, the table on screen, JSON, and the table of the page
```
"""
