"""The members' tables of one recording, smoothed by EKS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raypose.config import EksOptions
from raypose.errors import Failure, SmoothingError
from raypose.specs import VideoSpec
from raypose.steps.base import NOTES, Outcome, OutputStep
from raypose.steps.provenance import of_members
from raypose.storage import as_path, commits, digests
from raypose.storage.digests import verified
from raypose.storage.origins import Origin, VideoRead, union
from raypose.storage.provenance import Provenance
from raypose.text import json_text
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.eks.members import Members


# Memory per frame, keypoint, member and view, from benchmarks/memory.py: 2,014 MiB for 1,000,000
# frames × 17 × 3.
_BYTES_PER_KEYPOINT = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth(OutputStep):
    """Smooth the ensemble; its results are the smoothed tables, one for each view.

    Its inputs are the members' tables: all of the first video, in the order of `members`, then all
    of the second. The provenance of a view's table names that view's video as well.

    Attributes:
        members: names of the models.
        options: how to smooth.
        mirrored: keypoints of each mirrored view.
        calibration: path of the cameras' calibration.
        final: whether the members are all that there will ever be, so that a result without one
            that failed is finished.
    """

    name = "smooth"
    title = "smoothing"

    members: tuple[str, ...]
    options: EksOptions
    mirrored: tuple[tuple[str, ...], ...] = ()
    calibration: str = ""
    final: bool = False

    @staticmethod
    def table_name(video: VideoSpec) -> str:
        """Name of a view's table among the outputs."""
        return f"table {video.view}".rstrip()

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(self.outputs[self.table_name(video)] for video in self.videos)

    @property
    def needs_all_inputs(self) -> bool:
        return self.options.min_members is None

    @property
    def memory_bytes(self) -> int:
        if self.owner.model is None:
            return 0  # the size of existing tables is not known before they are read
        n_keypoints = len(self.options.keypoints or self.owner.model.keypoint_names)
        n_values = self.video.n_frames * n_keypoints * len(self.members) * len(self.videos)
        return n_values * _BYTES_PER_KEYPOINT

    def provenance_of(self, video: VideoSpec) -> Provenance:
        """What the table of one view is made from."""
        return (
            {**self.provenance, "video": video.fingerprint}
            if video.fingerprint
            else self.provenance
        )

    def expected(self) -> Iterator[tuple[str, Provenance, VideoSpec]]:
        of_table = {self.table_name(video): video for video in self.videos}
        for name, path in self.outputs.items():
            video = of_table.get(name, self.video)
            yield path, self.provenance_of(video), video

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.eks import fitting_members, smooth_recording

        n = len(self.members)
        views = {
            video.view: dict(zip(self.members, inputs[v * n : (v + 1) * n], strict=True))
            for v, video in enumerate(self.videos)
        }
        members = fitting_members(
            views, keypoints=self.options.keypoints, min_members=self.options.min_members
        )
        digest = str(self.provenance.get("calibration", "")) if self.calibration else ""
        with verified(self.calibration, digest, "the calibration", SmoothingError):
            result = smooth_recording(
                members.tables,
                self.options,
                mirrored=self.mirrored,
                calibration=self.calibration,
                on_progress=context.report,
                should_stop=context.should_stop,
            )
        origins = [None if isinstance(table, Failure) else table.origin for table in inputs]
        return self._commit(result, members, origins, context.budget.write)

    def _commit(
        self,
        result: Any,
        members: Members,
        origins: Sequence[Origin | None],
        n_threads: int,
    ) -> Outcome:
        """Commit the smoothed tables, then say what came of it."""
        from raypose.steps.frame_files import COUNTS, frames_of_members
        from raypose.video.frames import describe

        # The next run smooths again as soon as there are more members.
        left_out = {"left_out": members.excluded} if members.excluded else {}
        made_from = {
            video: of_members(
                {**self.provenance_of(video), **({} if self.final else left_out)},
                origins,
                len(self.members),
            )
            for video in self.videos
        }
        read = union(t.origin for tables in members.tables.values() for t in tables.values())
        stats = {"mode": result.mode, "reason": result.reason, "members": list(members.names)}
        outcome = Outcome([])
        outcome.made = self._commit_shared(
            result, made_from[self.video], read, stats, members, n_threads
        )
        outcome.warnings = [
            f"EKS went on without {who}: it {why}" for who, why in members.excluded.items()
        ]
        outcome.warnings += members.notes
        said = list(outcome.warnings)
        damaged: dict[str, Mapping[str, int]] = {}
        for video, path in zip(self.videos, self.tables, strict=True):
            provenance = made_from[video]
            frames = frames_of_members(list(members.tables[video.view].values()))
            origin = Origin(digests.digest_of_json(provenance), read)
            table = replace(result.tables[video.view], origin=origin, frames=frames)
            noted: dict[str, Any] = {"n_rows": table.n_frames, **stats, **left_out}
            if said:
                noted[NOTES] = said
            if frames is not None:
                damaged[video.path] = noted[COUNTS] = frames.counts
                if self.final:  # otherwise those who predicted have said so
                    outcome.warnings.append(f"{video.key}: {describe(frames.counts)}")
            outcome.made += _commit_table(table, path, provenance, video, noted, n_threads)
            outcome.results.append(table)
        outcome.stats = {"n_rows": outcome.results[0].n_frames, **stats, "damaged": damaged}
        return outcome

    def _commit_shared(
        self,
        result: Any,
        provenance: Provenance,
        read: Sequence[VideoRead],
        stats: Mapping[str, Any],
        members: Members,
        n_threads: int,
    ) -> list[str]:
        """Commit what belongs to the whole recording: parameters, and 3-D keypoints if any."""
        from raypose.tables.keypoints import write_points_csv

        params = {
            **stats,
            **({"left_out": members.excluded} if members.excluded else {}),
            **({"notes": list(members.notes)} if members.notes else {}),
            "options": self.options.model_dump(mode="json"),
            "smooth_params": result.smooth_params,
        }
        source = self.video.path
        made = [self.outputs["params"]]
        with commits.committing(
            as_path(made[0]), provenance, source=source, videos=lambda: read
        ) as temporary:
            temporary.write_text(json_text(params, indent=1), encoding="utf-8")
        if "points" in self.outputs and result.points is not None:
            made.append(self.outputs["points"])
            with commits.committing(
                as_path(made[1]), provenance, source=source, stats=dict(stats), videos=lambda: read
            ) as temporary:
                write_points_csv(result.points, temporary, n_threads)
        return made


def _commit_table(
    table: Any,
    path: str,
    provenance: Provenance,
    video: VideoSpec,
    stats: dict[str, Any],
    n_threads: int,
) -> list[str]:
    """Commit the smoothed table of one view, with the file of its frames where it needs one."""
    from raypose.steps.frame_files import commit_frames, drop_frames
    from raypose.tables.keypoints import write_csv

    output, read, made = as_path(path), table.origin.videos, []
    if table.frames is None:
        drop_frames(output)
    else:
        made = commit_frames(output, provenance, table.frames, source=video.path, videos=read)
    with commits.committing(
        output, provenance, source=video.path, stats=stats, videos=lambda: read
    ) as temporary:
        write_csv(table, temporary, n_threads)
    return [*made, path]
