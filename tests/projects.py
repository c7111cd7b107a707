"""Projects for tests that plan and do not predict: model directories, and outputs as if made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from raypose import ledger
from raypose.planning import SessionPlan
from tests.models import make_config


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
    for work in session.works:
        for step in work.steps:
            for name, path in step.outputs.items():
                with ledger.committing(
                    Path(path), step.recipe, source=session.video.path
                ) as temporary:
                    temporary.write_text(f"{work.owner.name} {name}\n" * 20)
                made.append(Path(path))
    return made
