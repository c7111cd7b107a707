"""SmoothConfig: which existing tables to smooth, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import model_validator

from raypose.config.options import Option
from raypose.config.settings import OUTPUTS, VIEWS, Settings
from raypose.config.types import NOTHING, Flag, Place, Texts
from raypose.storage import AnyPath


class SmoothConfig(Settings):
    """What to smooth: existing tables of predictions.

    Raises:
        UsageError: a value is missing or makes no sense.
    """

    predicts = False
    command = "smooth"

    tables: Annotated[Texts, Option("", ("tables",))]
    """Tables of Lightning Pose, DeepLabCut or SLEAP (CSV, HDF5), directories of them, model
    directories, or globs."""
    eks_dir: Annotated[Place, Option(OUTPUTS, ("--output-dir", "-o", "--eks-dir"))] = NOTHING
    """Directory of the smoothed tables."""
    members: Annotated[Flag, Option(VIEWS)] = False
    """All tables are of the same video, one per ensemble member, whatever their names."""

    @model_validator(mode="after")
    def _complete(self) -> SmoothConfig:
        if not self.tables:
            raise ValueError("tables: at least one is needed")
        if self.eks_dir is None:
            raise ValueError("smoothed tables need a place: give one with -o")
        if self.members and (self.views or self.sessions is not None or self.calibration):
            raise ValueError(
                "--members takes the tables of a single video: leave out --views, --sessions and "
                "--calibration"
            )
        return self

    @property
    def root(self) -> AnyPath:
        """Directory of the outputs."""
        assert self.eks_dir is not None, "checked by `_complete`"
        return self.eks_dir
