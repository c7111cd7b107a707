"""Tasks as schedulers see them, without anything to do."""

from __future__ import annotations

from raypose.specs import VideoSpec
from raypose.tasks import LoadArgs, Task

_VIDEO = VideoSpec("/videos/v.mp4", "v", 1000, 640, 480, 25.0, 40.0, "print")


def make_task(
    name: str,
    *,
    gpu: bool = False,
    inputs: tuple[str, ...] = (),
    outputs: tuple[str, ...] = (),
    n_frames: int = 1000,
    session: str = "v",
) -> Task:
    """A task; its output bears its name, where no others are given."""
    args = LoadArgs(_VIDEO, "")
    kind = name.partition("/")[0]
    return Task(name, kind, session, name, args, inputs, outputs or (name,), n_frames, gpu)


def make_session(name: str, *, members: int = 1, n_frames: int = 1000) -> tuple[Task, ...]:
    """What an ensemble makes of a video: predictions, a table per member, the smoothed one."""
    predict = f"predict/{name}"
    ranges = tuple(f"{predict}#{m}" for m in range(members))
    tables = tuple(f"table/{name}/{m}" for m in range(members))
    return (
        make_task(predict, gpu=True, outputs=ranges, n_frames=n_frames, session=name),
        *(
            make_task(t, inputs=(r,), n_frames=n_frames, session=name)
            for t, r in zip(tables, ranges, strict=True)
        ),
        make_task(f"smooth/{name}", inputs=tables, n_frames=n_frames, session=name),
    )
