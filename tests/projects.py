"""Projects for tests that plan and do not predict: model directories, and outputs as if made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raypose import ledger
from raypose.config import RunConfig
from raypose.planning import Plan, SessionPlan, make_plan
from tests.models import make_config
from tests.videos import make_video


def fake_model(directory: Path, *, weights: bytes = b"", **config: Any) -> Path:
    """A model directory whose checkpoint holds no network.

    Args:
        directory: where; parents are made.
        weights: content of the checkpoint; by default the directory's name.
        **config: as `tests.models.make_config`.
    """
    folder = directory / "tb_logs" / "test_model" / "version_0" / "checkpoints"
    folder.mkdir(parents=True)
    (directory / "config.yaml").write_text(yaml.safe_dump(make_config(**config)))
    checkpoint = folder / "epoch=9-step=100-best.ckpt"
    checkpoint.write_bytes(weights or directory.name.encode())
    return directory


def commit_all(session: SessionPlan) -> list[Path]:
    """Commit something under every output of a session, as a run would; returns the paths."""
    made = []
    for plan in session.videos:
        for owner, step in ((w.owner, step) for w in plan.works for step in w.steps):
            for name, path in step.outputs.items():
                source = plan.video.path
                with ledger.committing(Path(path), step.recipe, source=source) as temporary:
                    temporary.write_text(f"{owner.name} {name}\n" * 20)
                made.append(Path(path))
    return made


class Project:
    """Two models `a` and `b`, a folder of videos, and a place for outputs.

    Args:
        root: where; must be there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.models = (fake_model(root / "models" / "a"), fake_model(root / "models" / "b"))
        self.videos = root / "videos"
        self.videos.mkdir()
        self.out = root / "out"

    def video(self, name: str = "cam.mp4", **values: Any) -> Path:
        path = self.videos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return make_video(path, **{"n_frames": 12, **values})

    def plan(self, **values: Any) -> Plan:
        given = {
            "videos": (str(self.videos),),
            "models": tuple(map(str, self.models)),
            "output_dir": self.out,
            **values,
        }
        return make_plan(RunConfig.build(**given), run_dir=self.root / "run")

    def finish(self, **values: Any) -> list[Path]:
        return [path for s in self.plan(**values).sessions for path in commit_all(s)]
