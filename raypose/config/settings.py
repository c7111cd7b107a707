"""What `run` and `smooth` have in common: recordings, where outputs go, and what to run on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, model_validator

from raypose.config.base import Checked
from raypose.config.eks_options import EksOptions
from raypose.config.options import Option
from raypose.config.schemas import Allowed
from raypose.config.types import (
    EMPTY,
    NOTHING,
    Count,
    Flag,
    Gigabytes,
    LocalPlace,
    Names,
    Place,
    Seconds,
    Takes,
)
from raypose.storage.layout import Layout

if TYPE_CHECKING:
    from typing_extensions import Self

Device = Literal["auto", "cpu", "cuda"]

# Headings of `--help`.
MODELS = "Models"
OUTPUTS = "Outputs"
VIEWS = "Recordings and camera views"
GPUS = "GPUs"
MACHINES = "Ray and this machine"


_AS_EKS: Any = EksOptions()


def _fraction(value: Any) -> Any:
    return tuple(value.split("/")) if isinstance(value, str) else value


class Settings(Checked):
    """The common settings; see `RunConfig` and `SmoothConfig`."""

    predicts: ClassVar[bool]
    """Whether networks run, and GPUs are wanted."""

    eks_dir: Annotated[Place, Option(OUTPUTS)] = NOTHING
    """Directory or URL of the smoothed tables."""
    run_dir: Annotated[
        LocalPlace,
        Option(
            OUTPUTS, default="raypose/ in -o; ./raypose-runs/<date> without -o or if it is a URL"
        ),
    ] = NOTHING
    """Directory of the run's log and state."""
    layout: Annotated[Layout, Option(OUTPUTS)] = "app"
    """File names of the Lightning Pose app or of the Pose-app."""
    overwrite: Annotated[Flag, Option(OUTPUTS)] = False
    """Redo finished outputs."""

    views: Annotated[Names, Option(VIEWS)] = EMPTY
    """Camera views, as in top,side: videos whose names differ only in this part belong to one
    recording."""
    sessions: Annotated[LocalPlace, Option(VIEWS)] = NOTHING
    """CSV that lists the recordings: a column session, and one column per view."""
    calibration: Annotated[LocalPlace, Option(VIEWS)] = NOTHING
    """Anipose calibration of the cameras (calibration.toml), for 3-D keypoints."""
    shard: Annotated[
        Takes[tuple[int, int] | None, str | tuple[int, int] | None],
        BeforeValidator(_fraction),
        Allowed("I/N, with I from 0 to N − 1", "I/N"),
        Option(VIEWS),
    ] = NOTHING
    """Do only part I of N equal parts of the recordings, counted from 0."""

    allow_unsafe_checkpoint: Annotated[Flag, Option(MODELS)] = False
    """Load checkpoints that need full unpickling, which can run code of whoever wrote the file."""

    device: Annotated[Device, Option(GPUS)] = "auto"
    """Where networks run; auto takes a GPU if there is one."""
    cpus: Annotated[Count | None, Option(GPUS, default="all")] = None
    """CPU cores to use, of those that the process may use."""
    gpus: Annotated[Count | None, Option(GPUS, default="all")] = None
    """Number of GPUs to use."""
    workers_per_gpu: Annotated[Count, Option(GPUS)] = 1
    """Worker processes that share a GPU."""
    address: Annotated[
        str | None,
        Allowed("auto, local or HOST:PORT", "HOST:PORT"),
        Option(MACHINES, default="local"),
    ] = None
    """Ray cluster to join: HOST:PORT, or auto for the one on this machine; local starts one for
    this run."""
    inline: Annotated[Flag, Option(MACHINES)] = False
    """Run everything in this process, without Ray."""
    stall_timeout_s: Annotated[Seconds, Option(MACHINES, ("--stall-timeout",))] = 600.0
    """Stop a task after this time without progress, and try it on another worker."""
    scratch_dir: Annotated[LocalPlace, Option(MACHINES, default="temporary directory")] = NOTHING
    """Local directory for copies of videos that come from a URL."""
    scratch_gb: Annotated[Gigabytes | None, Option(MACHINES, default="free space")] = None
    """Most space that these copies may take on each machine."""
    eks_options: Annotated[
        Takes[EksOptions, EksOptions | Mapping[str, Any]],
        Allowed("a section with the options of EKS"),
    ] = _AS_EKS
    """How EKS smooths."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.views and self.sessions is not None:
            raise ValueError("--sessions names the views: leave out --views")
        if len(self.views) == 1:
            raise ValueError(f"--views names a single view, {self.views[0]}: give two or more")
        if self.shard is not None and not 0 <= self.shard[0] < self.shard[1]:
            given = "/".join(map(str, self.shard))
            raise ValueError(f"--shard is {given}, and must be I/N, with I from 0 to N − 1")
        if self.inline and self.address not in (None, "local"):
            raise ValueError("--inline runs without Ray and can't be used with --address")
        return self

    @property
    def gpu_encoder(self) -> bool:
        """Whether CPU workers encode on GPUs, and so must see them."""
        return False
