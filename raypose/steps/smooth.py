"""The members' tables of one recording, smoothed by EKS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from raypose.config import EksOptions
from raypose.errors import Failure, SmoothingError
from raypose.specs import VideoSpec
from raypose.steps.base import NOTES, Outcome, OutputStep
from raypose.steps.frame_files import commit_table, frames_of_members
from raypose.steps.provenance import of_members
from raypose.storage import as_path, commits, digests
from raypose.storage.digests import verified
from raypose.storage.origins import Origin, VideoRead, union
from raypose.storage.provenance import Provenance
from raypose.tables.keypoints import write_points_csv
from raypose.text import json_text
from raypose.video.frames import describe
from raypose.worker.context import Context

if TYPE_CHECKING:
    from raypose.eks.ensemble import Members


# Memory per frame, keypoint, member and view, from benchmarks/memory.py: 2,014 MiB for 1,000,000
# frames × 17 × 3.
_BYTES_PER_KEYPOINT = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Smooth(OutputStep):
    """Smooth the ensemble; its results are the smoothed tables, one for each view.

    Its inputs are the members' tables: all of the first video, in the order of `members`, then all
    of the second. The provenance of a view's table names that view's video as well.

    Attributes:
        mirrored: keypoints of each mirrored view.
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
        named = {"video": video.fingerprint} if video.fingerprint else {}
        return {**self.provenance, **named}

    def expected(self) -> Iterator[tuple[str, Provenance, VideoSpec]]:
        of_table = {self.table_name(video): video for video in self.videos}
        for name, path in self.outputs.items():
            video = of_table.get(name, self.video)
            yield path, self.provenance_of(video), video

    def run(self, inputs: Sequence[Any], context: Context) -> Outcome:
        from raypose.eks.ensemble import fitting_members
        from raypose.eks.recording import smooth_recording

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
                threads=context.budget.smooth,
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
        notes = {"notes": list(members.notes)} if members.notes else {}
        first, said = made_from[self.video], {**left_out, **notes}
        outcome = Outcome([], self._commit_shared(result, first, read, stats, said, n_threads))
        outcome.warnings = [
            f"EKS went on without {who}: it {why}" for who, why in members.excluded.items()
        ]
        outcome.warnings += members.notes
        noted = {NOTES: list(outcome.warnings)} if outcome.warnings else {}
        damaged: dict[str, Mapping[str, int]] = {}
        for video, path in zip(self.videos, self.tables, strict=True):
            provenance = made_from[video]
            frames = frames_of_members(list(members.tables[video.view].values()))
            origin = Origin(digests.digest_of_json(provenance), read)
            table = replace(result.tables[video.view], origin=origin, frames=frames)
            if frames is not None:
                damaged[video.path] = frames.counts
                if self.final:  # otherwise those who predicted have said so
                    outcome.warnings.append(f"{video.key}: {describe(frames.counts)}")
            outcome.made += commit_table(
                table, frames, path, provenance, video, {**stats, **left_out, **noted}, n_threads
            )
            outcome.results.append(table)
        outcome.stats = {"n_rows": outcome.results[0].n_frames, **stats, "damaged": damaged}
        return outcome

    def _commit_shared(
        self,
        result: Any,
        provenance: Provenance,
        read: Sequence[VideoRead],
        stats: Mapping[str, Any],
        said: Mapping[str, Any],
        n_threads: int,
    ) -> list[str]:
        """Commit what belongs to the whole recording: parameters, and 3-D keypoints if any."""
        params = {
            **stats,
            **said,
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
