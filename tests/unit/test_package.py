"""What `import raypose` gives, what it costs, and that it leaves the process as it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import raypose
from raypose import errors
from tests.projects import Project


def in_a_new_process(code: str, *arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_public_names_are_there() -> None:
    assert set(raypose.__all__) <= set(dir(raypose))
    assert all(getattr(raypose, name) is not None for name in raypose.__all__)
    with pytest.raises(AttributeError, match="no attribute 'rum'"):
        _ = raypose.rum


def test_every_error_can_be_caught_by_its_public_name() -> None:
    def below(kind: type[Exception]) -> set[type[Exception]]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    tree = {kind for kind in below(errors.RayposeError) if kind.__module__ == errors.__name__}
    assert {getattr(raypose, kind.__name__) for kind in tree} == tree
    assert all(kind.__name__ in (errors.__doc__ or "") for kind in tree)


def test_the_import_is_cheap() -> None:
    code = "import sys, raypose\nprint({'pydantic', 'numpy', 'torch', 'ray'} & {*sys.modules})"
    assert in_a_new_process(code) == "set()\n"


def test_import_and_plan_leave_the_environment_as_it_was(tmp_path: Path) -> None:
    code = """
import os, sys
before = dict(os.environ)
import raypose
assert dict(os.environ) == before
videos, *models, out = sys.argv[1:]
config = raypose.RunConfig(videos=videos, models=models, output_dir=out, eks=True, label="full")
plan = raypose.plan(config)
assert len(plan.pending) == 1, plan.problems
assert dict(os.environ) == before, dict(os.environ).items() ^ before.items()
"""
    project = Project(tmp_path)
    project.video()
    in_a_new_process(code, project.videos, *project.models, project.out)
