"""Tasks as schedulers see them, without anything to do."""

from __future__ import annotations

from raypose.specs import VideoSpec
from raypose.steps import Load, Predict, Step, Task

_VIDEO = VideoSpec("/videos/v.mp4", "v", 1000, 640, 480, 25.0, 40.0, "print")
_PREDICT = Predict(videos=(_VIDEO,), members=(), start=0, stop=1000, provenances=())
_LOAD = Load(videos=(_VIDEO,), path="")


def make_task(
    name: str,
    *,
    gpu: bool = False,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    n_frames: int = 1000,
    step: Step = _LOAD,
    recording: str = "v",
) -> Task:
    """A task; its output bears its name, where no others are given."""
    return Task(
        name, _PREDICT if gpu else step, recording, name, inputs, outputs or (name,), n_frames
    )


def make_recording(name: str, *, members: int = 1, n_frames: int = 1000) -> tuple[Task, ...]:
    """What an ensemble makes of a video: predictions, a table per member, the smoothed one."""
    predict = f"predict/{name}"
    ranges = tuple(f"{predict}#{m}" for m in range(members))
    tables = tuple(f"table/{name}/{m}" for m in range(members))
    return (
        make_task(predict, gpu=True, outputs=ranges, n_frames=n_frames, recording=name),
        *(
            make_task(t, inputs=(r,), n_frames=n_frames, recording=name)
            for t, r in zip(tables, ranges, strict=True)
        ),
        make_task(f"smooth/{name}", inputs=tables, n_frames=n_frames, recording=name),
    )
