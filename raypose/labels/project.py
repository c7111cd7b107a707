"""A labelling project of chosen frames: their images, and the predictions as first guesses.

For Lightning Pose a project is `labeled-data/<video>/img<frame>.png` with the neighbours that
context models need, and a CSV at the top; for DeepLabCut it is one CSV in each video's folder.
No file that exists is ever written to.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from raypose import storage
from raypose.errors import LabelsError, UsageError, VideoError
from raypose.inputs.probe import known_index, probe
from raypose.labels.choosing import Candidate
from raypose.labels.outputs import OutputTable, label_folder
from raypose.metrics.labels import read_label_file
from raypose.video.frames import FrameStatus, without_picture
from raypose.video.index import VideoIndex, index_video
from raypose.video.reader import FrameReader

Format = Literal["lp", "dlc"]

CONTEXT = 2
"""Neighbours on either side of a frame that Lightning Pose's context models see."""

_IMAGES = "labeled-data"
_SCORER = "raypose"
_SUGGESTED = "CollectedData_suggested"
_FRAME_NUMBER = re.compile(r"(\d+)\D*$")
_VIDEOS_AT_ONCE = 4
# Two pictures are the same where no part of a coarse grid differs by more than this, of 255.
_GRID, _SAME_PICTURE = 32, 4.0


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        frames: the chosen frames, in order of video and number.
        labels: the files of first guesses.
        directory: of the project.
        notes: what was left out, and why.
    """

    frames: tuple[Candidate, ...]
    labels: tuple[Path, ...]
    directory: Path
    notes: tuple[str, ...] = ()


def frame_of_image(name: str) -> tuple[str, int] | None:
    """Folder and frame number of `labeled-data/<folder>/img00000042.png`; None for other names."""
    *folders, image = name.replace("\\", "/").split("/")
    number = _FRAME_NUMBER.search(image.rpartition(".")[0])
    if number is None or not folders or folders[-1] == _IMAGES:
        return None
    return folders[-1], int(number[1])


@dataclass
class Project:
    """A directory that is, or becomes, a labelling project.

    Raises:
        UsageError: it is not on this machine, or is a file.
    """

    output: str | Path
    format: Format = "lp"
    directory: Path = field(init=False)

    def __post_init__(self) -> None:
        directory = storage.local_path(self.output)
        if directory is None or (directory.exists() and not directory.is_dir()):
            message = "a labelling project must be a directory on this machine"
            raise UsageError(message, path=self.output, hint="Choose another -o.")
        self.directory = directory

    def labelled_frames(self) -> dict[str, set[int]]:
        """Frames that have labels or guesses here already, by the folder of their images."""
        frames: dict[str, set[int]] = defaultdict(set)
        files = [*self.directory.glob("*.csv"), *self.directory.glob(f"{_IMAGES}/*/*.csv")]
        for path in sorted(files):
            try:
                images = read_label_file(path).images
            except LabelsError:
                continue  # a table of something else
            for place in map(frame_of_image, images):
                if place is not None:
                    frames[place[0]].add(place[1])
        return frames

    def why_closed(self, folder: str) -> str:
        """Why no guesses can be added for a video; empty where they can."""
        path = self._dlc_labels(folder)
        taken = [p for p in (path, path.with_suffix(".h5")) if p.exists()]
        if self.format == "lp" or not taken:
            return ""
        return f"DeepLabCut takes one file of labels per video, and there is {taken[0]}"

    def write(
        self,
        order: Sequence[Candidate],
        n: int,
        sources: Mapping[str, OutputTable],
        notes: Sequence[str] = (),
    ) -> Written:
        """Write the first `n` candidates whose pictures can be used.

        Args:
            order: candidates, those to label first at the beginning.
            n: how many.
            sources: key of a video → a table of it, which names the file.
            notes: on what was left out before.

        Raises:
            UsageError: none of the pictures can be used.
            OSError: something can't be written.
        """
        pictures = {key: _Pictures(self, table) for key, table in sources.items()}
        usable: list[Candidate] = []
        rest = iter(order)
        with ThreadPoolExecutor(_VIDEOS_AT_ONCE, thread_name_prefix="images") as pool:
            while batch := list(itertools.islice(rest, n - len(usable))):
                by_video: dict[str, list[Candidate]] = defaultdict(list)
                for candidate in batch:
                    by_video[candidate.video].append(candidate)
                jobs = [pool.submit(pictures[key].save, group) for key, group in by_video.items()]
                usable += itertools.chain.from_iterable(job.result() for job in jobs)
        all_notes = [*notes, *(note for each in pictures.values() for note in each.notes())]
        if not usable:
            raise UsageError(f"no frame can be suggested: {'; '.join(all_notes[:3])}")
        if len(usable) < n:
            all_notes.append(_why_fewer(n, len(usable), len(order)))
        usable.sort(key=lambda candidate: (candidate.video, candidate.frame))
        if self.format == "dlc":
            labels = self._write_dlc(usable)
        else:
            labels = [self._write_lp(usable)]
        return Written(tuple(usable), tuple(labels), self.directory, tuple(all_notes))

    def image(self, key: str, frame: int) -> Path:
        return self.directory / _IMAGES / label_folder(key) / f"img{frame:08d}.png"

    def _write_lp(self, frames: Sequence[Candidate]) -> Path:
        """One CSV for all videos, under a free name; and the project file that the app needs."""
        if not any(self.directory.glob("*.csv")) and not any(self.directory.glob("*.yaml")):
            text = yaml_of_project(frames[0].keypoint_names)
            storage.write_text(self.directory / "project.yaml", text)
        rows = [(f"{_IMAGES}/{label_folder(f.video)}/img{f.frame:08d}.png",) for f in frames]
        for number in itertools.count(1):
            ending = "" if number == 1 else f"_{number}"
            path = self.directory / f"{_SUGGESTED}{ending}.csv"
            try:
                _write_guesses(path, _SCORER, rows, frames)
            except FileExistsError:
                continue
            return path
        raise AssertionError("numbers do not end")

    def _write_dlc(self, frames: Sequence[Candidate]) -> list[Path]:
        """A CSV in each video's folder."""
        made = []
        for key, group in itertools.groupby(frames, key=lambda candidate: candidate.video):
            of_video = list(group)
            folder = label_folder(key)
            rows = [(_IMAGES, folder, f"img{f.frame:08d}.png") for f in of_video]
            made.append(self._dlc_labels(folder))
            _write_guesses(made[-1], self._dlc_scorer, rows, of_video)
        return made

    def _dlc_labels(self, folder: str) -> Path:
        name = f"CollectedData_{self._dlc_scorer}.csv"
        return self.directory / _IMAGES / folder / name

    @property
    def _dlc_scorer(self) -> str:
        """Who labels, by the project's config; DeepLabCut finds files of labels by that name."""
        import yaml

        try:
            text = (self.directory / "config.yaml").read_text(encoding="utf-8")
            scorer = (yaml.safe_load(text) or {}).get("scorer")
        except (OSError, UnicodeError, yaml.YAMLError, AttributeError):
            return _SCORER
        return str(scorer) if scorer else _SCORER


class _Pictures:
    """Pictures of one video on their way into a project."""

    def __init__(self, project: Project, table: OutputTable) -> None:
        self._project, self._table = project, table
        self._index: VideoIndex | None = None
        self._error = ""
        self._coarse: list[npt.NDArray[np.float32]] = []  # of the pictures that were saved
        self._left_out: Counter[str] = Counter()

    def notes(self) -> Iterator[str]:
        """Which frames were left out, and why."""
        if self._error:
            yield f"{self._table.key}: frames are left out, since {self._error}"
        for reason, n in self._left_out.items():
            yield f"{self._table.key}: {n} {'frame' if n == 1 else 'frames'} {reason}"

    def save(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Save the images of candidates with their neighbours; returns those that can be used."""
        saved: list[Candidate] = []
        try:
            index = self._opened()
            in_order = sorted(candidates, key=lambda c: c.frame)
            saved.extend(c for c in in_order if self._save(index, c.frame))
        except VideoError as error:
            self._error = str(error)
        return saved

    def _opened(self) -> VideoIndex:
        """The video's index, if it is still the video that was predicted."""
        if self._index is None:
            video = probe(Path(self._table.video), self._table.key)
            if video.fingerprint != self._table.fingerprint:
                raise VideoError("this is not the video that was predicted", path=video.path)
            self._index = known_index(video) or index_video(video.path)
        return self._index

    def _save(self, index: VideoIndex, frame: int) -> bool:
        if frame >= index.n_frames:
            self._left_out["lie beyond the end of the video"] += 1
            return False
        around = CONTEXT if self._project.format == "lp" else 0
        first, stop = max(0, frame - around), min(index.n_frames, frame + around + 1)
        with FrameReader(index, start=first, stop=stop, batch_size=stop - first) as reader:
            (batch,) = reader
        if batch.statuses[frame - first] != FrameStatus.OK:
            self._left_out["can't be decoded without damage"] += 1
            return False
        coarse = _coarse(batch.frames[frame - first])
        if any(np.abs(coarse - other).max() < _SAME_PICTURE for other in self._coarse):
            self._left_out["look the same as others"] += 1
            return False
        self._coarse.append(coarse)
        for k in np.flatnonzero(~without_picture(batch.statuses)).tolist():
            _save_image(self._project.image(self._table.key, first + k), batch.frames[k])
        return True


def _why_fewer(n: int, n_usable: int, n_candidates: int) -> str:
    """Why fewer than `n` frames were written, after the notes on those that were left out."""
    left_out = n_candidates - n_usable
    if not left_out:
        return (
            f"{n_usable} frames instead of {n}: no others look bad and differ enough from these "
            "and from labelled ones"
        )
    reason = "was left out" if left_out == 1 else "were left out"
    return f"{n_usable} frames instead of {n}: of {n_candidates} candidates, {left_out} {reason}"


def yaml_of_project(keypoint_names: Sequence[str]) -> str:
    """The `project.yaml` of a project with one view, which the Lightning Pose app asks for."""
    import yaml

    content: dict[str, Any] = {
        "schema_version": 1,
        "view_names": [],
        "keypoint_names": list(keypoint_names),
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _coarse(picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Brightness of the parts of a picture (H, W, 3), on a grid."""
    import cv2

    gray = picture.mean(axis=2, dtype=np.float32)
    return np.asarray(cv2.resize(gray, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)


def _save_image(path: Path, picture: npt.NDArray[np.uint8]) -> None:
    """Write a PNG in one step, unless there is one."""
    from PIL import Image

    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        Image.fromarray(picture).save(temporary, "PNG")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_guesses(
    path: Path,
    scorer: str,
    rows: Sequence[tuple[str, ...]],
    frames: Sequence[Candidate],
) -> None:
    """Write a file of labels from predictions; a FileExistsError where there is one."""
    blank, names = [""] * (len(rows[0]) - 1), frames[0].keypoint_names
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scorer", *blank, *[scorer] * (2 * len(names))])
    writer.writerow(["bodyparts", *blank, *(name for name in names for _ in "xy")])
    writer.writerow(["coords", *blank, *("x", "y") * len(names)])
    for row, frame in zip(rows, frames, strict=True):
        numbers = ["" if v != v else f"{v:.3f}" for v in frame.xy.ravel().tolist()]
        writer.writerow([*row, *numbers])
    storage.write_new_text(path, text.getvalue())
