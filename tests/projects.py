"""Projects for tests that plan and do not predict: model directories, and outputs as if made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raypose.config import RunConfig
from raypose.planning import Plan, SessionPlan, make_plan
from raypose.specs import VideoSpec
from raypose.storage import commits
from raypose.storage.digests import content_digest
from raypose.storage.origins import VideoRead
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


def read_of(video: VideoSpec, *, n_bad: int = 0) -> VideoRead:
    """A video as a task that reads all of it puts it down."""
    assert video.identity is not None
    content = content_digest(Path(video.path), video.identity)
    return VideoRead(video.fingerprint, video.identity, content, n_bad)


def commit_all(session: SessionPlan, *, n_bad: int = 0) -> list[Path]:
    """Commit something under every output of a session, as a run would; returns the paths."""
    made = []
    all_read = [read_of(plan.video, n_bad=n_bad) for plan in session.videos]
    for plan, read in zip(session.videos, all_read, strict=True):
        for owner, step in ((w.owner, step) for w in plan.works for step in w.steps):
            behind = all_read if plan.eks is not None and owner is plan.eks.owner else [read]
            for name, path in step.outputs.items():
                source = plan.video.path
                with commits.committing(
                    Path(path), step.recipe, source=source, videos=lambda read=behind: read
                ) as temporary:
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
        return make_plan(RunConfig(**given), run_dir=self.root / "run")

    def finish(self, **values: Any) -> list[Path]:
        return [path for s in self.plan(**values).sessions for path in commit_all(s)]
