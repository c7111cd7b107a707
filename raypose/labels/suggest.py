"""Which frames of a run to label next.

Every video is scored by `metrics.worst`, from its smoothed table where there is one, else from the
members' tables together, else from the only model's. Damaged frames have no score, and frames near
labelled ones are left out. `choosing` spreads the choice; `project` writes it down.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from raypose import storage
from raypose.config import EksOptions
from raypose.eks.ensemble import AVERAGE, ensemble_table, fitting_members
from raypose.errors import RayposeError, TableError, UsageError
from raypose.labels.choosing import Candidate, choose, most_of_a_video
from raypose.labels.outputs import OutputTable, find_output_tables, label_folder
from raypose.labels.project import Format, Project, Written
from raypose.metrics.compute import TEMPORAL_NORM, temporal_norm
from raypose.metrics.worst import animal_size, score_frames, worst_moments
from raypose.steps.frame_files import frames_of_members
from raypose.storage import AnyPath, records
from raypose.storage.layout import METRICS, paths_of_table
from raypose.tables.keypoints import FloatArray, KeypointTable

_READERS = 4
_USUAL_THRESHOLD = 0.9  # of models whose config names none
# Frames between two candidates of a video: at least as many as the context of one, and in a long
# video no more than they need to differ.
_LEAST_DISTANCE, _MOST_DISTANCE = 5, 100
# Candidates of a video for each frame that it may have at most.
_CANDIDATES = 4


@dataclass(frozen=True, slots=True)
class _Video:
    """A video's tables, one of which names its file, and the frames that have labels."""

    source: OutputTable
    tables: tuple[OutputTable, ...]
    labelled: frozenset[int]


def suggest(directory: str | Path, n: int, output: str | Path, format: Format = "lp") -> Written:
    """Choose frames of a run whose labels would help most, and write them as a project.

    Args:
        directory: the `-o` of the run.
        n: how many frames.
        output: directory of the labelling project; may hold one already.
        format: `lp` for Lightning Pose, `dlc` for DeepLabCut.

    Raises:
        UsageError: there is no finished table, or no frame to suggest.
        OutputError, OSError: the project can't be written.
    """
    tables = find_output_tables(directory)
    project = Project(output, format)
    notes: list[str] = []
    videos = list(_videos(tables, project, notes))
    most = _CANDIDATES * most_of_a_video(n, len(videos) or 1)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="suggest") as pool:
        found = list(pool.map(lambda video: _candidates(video, most), videos))
    candidates = [candidate for part, _ in found for candidate in part]
    notes += [note for _, note in found if note]
    candidates = _of_usual_keypoints(candidates, notes)
    if not candidates:
        reasons = "; ".join(notes[:3])
        raise UsageError(
            "there is no frame to suggest" + (f": {reasons}" if reasons else ""), path=directory
        )
    sources = {video.source.key: video.source for video in videos}
    return project.write(choose(candidates, n), n, sources, notes)


def _videos(tables: Sequence[OutputTable], project: Project, notes: list[str]) -> Iterator[_Video]:
    """The videos that frames can be taken of; notes on the others."""
    folders: dict[str, str] = {}
    labelled = project.labelled_frames()
    for key, group in groupby(tables, key=lambda table: table.key):
        of_video = tuple(group)
        folder = label_folder(key)
        known = [table for table in of_video if table.fingerprint]
        if not known:
            notes.append(f"{key}: left out, since its tables do not say of which video they are")
        elif (other := folders.setdefault(folder, key)) != key:
            notes.append(f"{key}: left out, since its images would lie among those of {other}")
        elif not Path(known[0].video).is_file():
            notes.append(f"{key}: left out, since its video is gone ({known[0].video})")
        elif reason := project.why_closed(folder):
            notes.append(f"{key}: left out, since {reason}")
        else:
            yield _Video(known[0], of_video, frozenset(labelled.get(folder, ())))


def _of_usual_keypoints(candidates: Sequence[Candidate], notes: list[str]) -> list[Candidate]:
    """Those that have the keypoints of most; a project has one set of keypoints."""
    usual = Counter(candidate.keypoint_names for candidate in candidates).most_common(1)
    fitting = [c for c in candidates if c.keypoint_names == usual[0][0]]
    others = {c.video for c in candidates} - {c.video for c in fitting}
    reason = "left out, since it has other keypoints than most videos"
    notes += [f"{video}: {reason}" for video in sorted(others)]
    return fitting


def _candidates(video: _Video, most: int) -> tuple[list[Candidate], str]:
    """The worst frames of a video, at most `most`; or a note on why there are none."""
    try:
        return candidates_of(video.source.key, video.tables, most, video.labelled), ""
    except (RayposeError, OSError) as error:
        return [], f"{video.source.key}: left out, since its tables can't be used ({error})"


def candidates_of(
    key: str, tables: Sequence[OutputTable], most: int, labelled: Collection[int] = ()
) -> list[Candidate]:
    """The worst frames of one video.

    Args:
        key: of the video.
        tables: of its models and, if there is one, of the smoothed ensemble.
        most: how many frames.
        labelled: frames that have labels already.

    Raises:
        TableError, SmoothingError: the tables are damaged, or do not fit each other.
    """
    chosen = _chosen(tables)
    table = _joined([each.read() for each in chosen])
    threshold = _threshold(chosen[0])
    size_px = animal_size(table, threshold)
    metrics = {TEMPORAL_NORM: temporal_norm(table), **_pca_errors(chosen, table)}
    scores = score_frames(table, metrics, threshold, size_px=size_px)
    distance = int(np.clip(2 * table.n_frames // most, _LEAST_DISTANCE, _MOST_DISTANCE))
    open_for_choice = scores.total.copy()
    for frame in labelled:
        open_for_choice[max(0, frame - distance + 1) : frame + distance] = np.nan
    return [
        Candidate(
            key,
            frame,
            float(scores.total[frame]),
            scores.main_part(frame),
            table.keypoint_names,
            table.xy[frame].copy(),
            size_px,
        )
        for frame in worst_moments(open_for_choice, most, distance).tolist()
    ]


def _chosen(tables: Sequence[OutputTable]) -> Sequence[OutputTable]:
    return [table for table in tables if table.is_smoothed][:1] or tables


def _joined(tables: Sequence[KeypointTable]) -> KeypointTable:
    """One table; of several members that of their medians and variances."""
    if len(tables) == 1:
        return tables[0]
    members = fitting_members({"": {str(i): table for i, table in enumerate(tables, start=1)}})
    joined = ensemble_table(list(members.tables[""].values()), EksOptions())
    joined.values[..., :2] = joined.values[..., AVERAGE]
    frames = frames_of_members(tables)
    return KeypointTable(
        joined.scorer, joined.keypoint_names, joined.coords, joined.values, frames=frames
    )


def _threshold(table: OutputTable) -> float:
    """The model's likelihood threshold, as stored in the table's quality file."""
    path = paths_of_table(table.path).quality
    try:
        threshold = json.loads(storage.read_bytes(path))["below_threshold"]["threshold"]
    except (OSError, ValueError, KeyError, TypeError):
        return _USUAL_THRESHOLD
    return float(threshold) if isinstance(threshold, float | int) else _USUAL_THRESHOLD


def _pca_errors(tables: Sequence[OutputTable], joined: KeypointTable) -> dict[str, FloatArray]:
    """The PCA errors that the run has computed: the mean of the tables that have them."""
    errors: dict[str, FloatArray] = {}
    for name in METRICS[1:]:
        known = [
            values for table in tables if (values := _metric(table, name, joined)) is not None
        ]
        if known:
            errors[name] = np.asarray(np.mean(known, axis=0), np.float32)
    return errors


def _metric(table: OutputTable, name: str, joined: KeypointTable) -> FloatArray | None:
    """A metric as the run has written it, (n_frames, n_keypoints); None where it is not there, or
    is not of this table."""
    path = paths_of_table(table.path).metric(name)
    record = records.read_record(path)
    if record is None or record["made_from"].get("table") != table.recipe:
        return None
    if not storage.exists(path):
        return None
    columns = _read_columns(path)
    if any(len(values) != joined.n_frames for values in columns.values()):
        return None
    unknown = np.full(joined.n_frames, np.nan, np.float32)
    return np.stack([columns.get(name, unknown) for name in joined.keypoint_names], axis=1)


def _read_columns(path: AnyPath) -> Mapping[str, FloatArray]:
    """The columns of a table of a metric by their keypoints."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    try:
        table = pa_csv.read_csv(pa.BufferReader(storage.read_bytes(path)))
        return {
            name: table[name].cast(pa.float32()).to_numpy(zero_copy_only=False)
            for name in table.column_names[1:]
        }
    except (pa.ArrowException, KeyError) as error:
        hint = "Remove it, and run again."
        raise TableError(
            f"no table of a metric ({str(error)[:200]})", path=path, hint=hint
        ) from error
