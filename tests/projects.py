"""Projects for tests that plan and do not predict: model directories, and outputs as if made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raypose.config import RunConfig
from raypose.planning import Plan, RecordingPlan, plan_run
from raypose.specs import VideoSpec
from raypose.steps.base import OutputStep
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


def commit_all(
    recording: RecordingPlan, *, n_bad: int = 0, stats: dict[str, Any] | None = None
) -> list[Path]:
    """Commit something under every output of a recording, as a run would; returns the paths.

    `stats` is recorded of each.
    """
    made: dict[Path, None] = {}
    reads = {plan.video: read_of(plan.video, n_bad=n_bad) for plan in recording.videos}
    for output in recording.outputs:
        smoothed = output.table.step.name == "smooth"
        behind = list(reads.values()) if smoothed else [reads[output.video]]
        for planned in output.steps:
            assert isinstance(planned.step, OutputStep)
            for path, provenance, video in planned.step.expected():
                if Path(path) in made:
                    continue
                with commits.committing(
                    Path(path),
                    provenance,
                    source=video.path,
                    stats=stats,
                    videos=lambda read=behind: read,
                ) as temporary:
                    temporary.write_text(f"{output.owner.name} {path}\n" * 20)
                made[Path(path)] = None
    return list(made)


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
            "report": values.get("metrics", True),  # without metrics a test wants tables alone
            **values,
        }
        return plan_run(RunConfig(**given), run_dir=self.root / "run")

    def finish(self, **values: Any) -> list[Path]:
        stats = values.pop("stats", None)
        recordings = self.plan(**values).recordings
        return [path for s in recordings for path in commit_all(s, stats=stats)]
