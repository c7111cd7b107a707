"""What a type checker, and so an editor, knows of a config's fields: what they take and hold.

mypy checks this module (see pyproject.toml): a line that it would refuse without reason fails it,
and so does an `ignore` for which there is none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose import EksOptions, RunConfig, SmoothConfig, UsageError


def test_checkers_know_what_fields_take() -> None:
    RunConfig(videos=Path("a.mp4"), models=["m"])
    RunConfig(videos=[Path("a.mp4")], models="m", eks=True, eks_dir="e", label="full")
    RunConfig(videos="v", models=("a", Path("b")), output_dir="o", views="top,side", shard="1/4")
    RunConfig(sessions=Path("s.csv"), models="m", eks_options={"mode": "pupil"})
    RunConfig(sessions="s.csv", models="m", eks_options=EksOptions(smooth_param=2.5))
    EksOptions(smooth_param={"nose": 2}, s_frames=[(None, 500)], blocks=["a,b", ("c", "d")])
    SmoothConfig(tables=Path("t.csv"), eks_dir=Path("o"))


def test_checkers_know_what_fields_hold() -> None:
    config = RunConfig(videos=Path("a.mp4"), models=["m"], label="full", views=["top", "side"])
    texts: tuple[str, ...] = config.videos + config.models + config.views + config.label
    assert texts == ("a.mp4", "m", "top", "side", "full")
    assert config.run_dir is None or config.run_dir.parent
    param: float | dict[str, float] | None = config.eks_options.smooth_param
    assert param is None


def test_checkers_find_what_is_refused() -> None:
    with pytest.raises(UsageError, match="videos is 3"):
        RunConfig(videos=3, models="m")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--model is missing"):
        RunConfig(videos="v")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match=r"no setting 'devise'. Did you mean --device"):
        RunConfig(videos="v", models="m", devise="cpu")  # type: ignore[call-arg]
    with pytest.raises(UsageError, match="--device is 'gpu'"):
        RunConfig(videos="v", models="m", device="gpu")  # type: ignore[arg-type]
