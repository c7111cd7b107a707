"""Pixel errors of the predictions of a run on labelled frames.

An error is the distance between label and prediction, as in `lightning_pose.metrics.pixel_error`.
Labels are matched by names: the folder of an image is its video's name, the number in the image's
name its frame.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from raypose.errors import LabelsError, UsageError
from raypose.labels.outputs import OutputTable, find_output_tables, label_folder
from raypose.labels.project import frame_of_image
from raypose.metrics.labels import LabelFile, read_label_file
from raypose.metrics.worst import means_of_rows
from raypose.tables.keypoints import KeypointTable

_Reasons = dict[str, dict[int, str]]
"""Why labels can't be compared → row of each such label → the image or video to name."""

QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Errors of one or more models, or a smoothed ensemble, on the same labelled frames.

    Attributes:
        images: of the labelled frames with predictions, as the file of labels names them.
        keypoint_names: the labelled keypoints.
        errors: owner of the predictions → errors in pixels, (n_images, n_keypoints); NaN where a
            keypoint has no label, or no prediction by this owner.
        n_labelled: frames with a label, those without predictions included.
        notes: what could not be compared, and why.
    """

    images: tuple[str, ...]
    keypoint_names: tuple[str, ...]
    errors: Mapping[str, npt.NDArray[np.float64]]
    n_labelled: int
    notes: tuple[str, ...]

    def worst(self, n: int) -> list[int]:
        """The images with the highest mean error, over all owners; the worst first."""
        means = np.stack([means_of_rows(errors) for errors in self.errors.values()])
        overall = means_of_rows(means.T)
        order = np.argsort(-np.nan_to_num(overall, nan=-1.0), kind="stable")
        return [int(i) for i in order if np.isfinite(overall[i])][:n]

    def worst_keypoint(self, image: int) -> str:
        """The keypoint with the highest mean error over all owners in an image with errors."""
        errors = np.stack([errors[image] for errors in self.errors.values()])
        return self.keypoint_names[int(np.nanargmax(means_of_rows(errors.T)))]

    def as_dict(self, n_worst: int) -> dict[str, Any]:
        """Plain values, for JSON; errors in pixels, null where there is none."""
        return {
            "n_labelled": self.n_labelled,
            "n_compared": len(self.images),
            "notes": list(self.notes),
            "errors": {owner: self._summary(errors) for owner, errors in self.errors.items()},
            "worst": [
                {
                    "image": self.images[i],
                    "keypoint": self.worst_keypoint(i),
                    "errors": {
                        o: _number(means_of_rows(e[[i]])[0]) for o, e in self.errors.items()
                    },
                }
                for i in self.worst(n_worst)
            ],
        }

    def _summary(self, errors: npt.NDArray[np.float64]) -> dict[str, Any]:
        columns = zip(self.keypoint_names, errors.T, strict=True)
        return {**spread(errors), "keypoints": {name: spread(column) for name, column in columns}}


def spread(errors: npt.NDArray[np.float64]) -> dict[str, Any]:
    """Number, mean, quantiles (`q50`, …) and maximum of the errors that are numbers."""
    known = errors[np.isfinite(errors)]
    names = [f"q{round(100 * q)}" for q in QUANTILES]
    if not known.size:
        return {"n": 0, "mean": None, **dict.fromkeys(names), "max": None}
    values = np.quantile(known, QUANTILES).tolist()
    return {
        "n": int(known.size),
        "mean": float(known.mean()),
        **dict(zip(names, values, strict=True)),
        "max": float(known.max()),
    }


def evaluate(labels: str | Path, directory: str | Path) -> Evaluation:
    """Compare the tables of a run with labels.

    Args:
        labels: a CSV of labels, of Lightning Pose or DeepLabCut.
        directory: the `-o` of the run.

    Raises:
        LabelsError: the file of labels can't be used.
        UsageError: there is no table, or no labelled frame has predictions.
        TableError: a table is damaged.
    """
    file = _labels(Path(labels))
    tables = find_output_tables(directory)
    labelled = np.flatnonzero(np.isfinite(file.points.sum(axis=2)).any(axis=1)).tolist()
    places, reasons = _places(file, labelled, tables)
    owners = {t.owner: t.is_smoothed for t in tables}
    errors = {
        owner: np.full(file.points.shape[:2], np.nan)
        for owner in sorted(owners, key=lambda owner: (owners[owner], owner))
    }
    strangers: dict[str, str] = {}
    for table in tables:
        if table.key not in places:
            continue
        predicted = table.read()
        if set(file.keypoint_names).isdisjoint(predicted.keypoint_names):
            strangers[table.owner] = _listed(predicted.keypoint_names)
        else:
            _compare(predicted, places[table.key], file, errors[table.owner], reasons)
    known: npt.NDArray[np.bool_] = np.isfinite(np.stack(list(errors.values())))
    images = np.flatnonzero(known.any(axis=(0, 2)))
    notes = [_note(reason, names) for reason, names in reasons.items()]
    labelled_names = _listed(file.keypoint_names)
    notes += [
        f"{owner} predicts other keypoints ({names}) than the labels have ({labelled_names})"
        for owner, names in strangers.items()
    ]
    without = [n for k, n in enumerate(file.keypoint_names) if not known[:, :, k].any()]
    if without and len(images):
        notes.append(f"keypoints without a label or a prediction: {', '.join(without)}")
    if not len(images):
        reason = "; ".join(notes) or "no frame in it is labelled"
        raise UsageError(f"no label can be compared with a prediction: {reason}", path=labels)
    return Evaluation(
        tuple(file.images[i] for i in images),
        file.keypoint_names,
        {owner: values[images] for owner, values in errors.items()},
        len(labelled),
        tuple(notes),
    )


def _labels(path: Path) -> LabelFile:
    try:
        return read_label_file(path)
    except LabelsError as error:
        hint = "Give a CollectedData CSV of Lightning Pose or DeepLabCut."
        raise LabelsError(error.message, path=path, hint=hint) from error


def _places(
    file: LabelFile, labelled: Sequence[int], tables: Sequence[OutputTable]
) -> tuple[dict[str, dict[int, int]], _Reasons]:
    """For each video the rows of its labels and their frames; and why others have none."""
    keys = {label_folder(table.key): table.key for table in tables}
    n_keys = Counter(label_folder(key) for key in {table.key for table in tables})
    places: dict[str, dict[int, int]] = defaultdict(dict)
    reasons: _Reasons = defaultdict(dict)
    for row in labelled:
        place = frame_of_image(file.images[row])
        if place is None:
            reasons["not named labeled-data/<video>/img<frame>.png"][row] = file.images[row]
        elif place[0] not in keys:
            reasons["of videos without predictions here"][row] = place[0]
        elif n_keys[place[0]] > 1:
            reasons["of a folder name that several videos share"][row] = place[0]
        else:
            places[keys[place[0]]][row] = place[1]
    return places, reasons


def _compare(
    predicted: KeypointTable,
    frames: Mapping[int, int],
    file: LabelFile,
    errors: npt.NDArray[np.float64],
    reasons: _Reasons,
) -> None:
    """Put the errors of a table into those of its owner."""
    shared = [name for name in file.keypoint_names if name in predicted.keypoint_names]
    columns = [file.keypoint_names.index(name) for name in shared]
    xy = predicted.select(shared).xy.astype(np.float64)
    for row, frame in frames.items():
        if frame >= predicted.n_frames:
            reasons["beyond the end of the video"][row] = file.images[row]
            continue
        errors[row, columns] = np.linalg.norm(file.points[row, columns] - xy[frame], axis=1)
        if not np.isfinite(errors[row]).any():
            reasons["without a prediction"][row] = file.images[row]


def _note(reason: str, names: Mapping[int, str]) -> str:
    """`12 labelled frames are of videos without predictions here: cam1, cam2`."""
    frames = "1 labelled frame is" if len(names) == 1 else f"{len(names)} labelled frames are"
    return f"{frames} {reason}: {_listed(list(dict.fromkeys(names.values())))}"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
