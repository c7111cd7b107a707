"""Records say what was read and done: through `execute`, as a worker does it."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from raypose.errors import Failure, TableError, VideoError
from raypose.inputs.models import open_model
from raypose.inputs.probe import probe
from raypose.metrics.compute import PCA_SINGLEVIEW, TEMPORAL_NORM, fit_and_digest
from raypose.specs import Owner, VideoSpec
from raypose.steps import Step, Summary, Table
from raypose.steps.execute import execute
from raypose.steps.frame_files import frames_provenance
from raypose.steps.predict import Predicted
from raypose.steps.provenance import bbox_as_planned, joined, of_members
from raypose.steps.ranges import write_range
from raypose.storage import digests, origins, records
from raypose.storage.digests import remembered_digest
from raypose.storage.identity import Identity
from raypose.storage.layout import frames_beside
from raypose.storage.origins import Origin, VideoRead
from raypose.tables.keypoints import KeypointTable
from raypose.video.index import index_video
from raypose.video.reader import FrameReader
from tests.frames import make_frames
from tests.projects import fake_model, read_of
from tests.steps import (
    label_step,
    load_step,
    make_context,
    metrics_step,
    smooth_step,
    table_step,
    task_of,
    timestamps_step,
)
from tests.videos import make_video

N_FRAMES = 12
PROVENANCE = {"kind": "predictions", "video": "v", "precision": "fp32", "decoder": "cpu"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(digests, "_contents", {})


@pytest.fixture
def video(tmp_path: Path) -> VideoSpec:
    return spec_of(make_video(tmp_path / "cam.mp4", n_frames=N_FRAMES))


def spec_of(path: Path) -> VideoSpec:
    return probe(path, path.stem)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner("m", str(tmp_path / "o"), open_model(fake_model(tmp_path / "m"), name="m"))


def do(step: Step, *inputs: Any) -> tuple[Summary, Any]:
    summary, (result,) = execute(task_of(step), inputs, make_context())
    return summary, result


def values(n_frames: int = N_FRAMES) -> np.ndarray:
    made = np.full((n_frames, 3, 3), 20, np.float32)
    made[..., 0] += np.arange(n_frames, dtype=np.float32)[:, None]
    return made


def table(owner: Owner, origin: Origin | None = None) -> KeypointTable:
    assert owner.model is not None
    names = owner.model.keypoint_names
    return KeypointTable("m_tracker", names, ("x", "y", "likelihood"), values(), origin=origin)


def videos_of(output: str) -> tuple[VideoRead, ...]:
    record = records.read_record(Path(output))
    assert record is not None
    return origins.videos_of(record) or ()


class TestTable:
    def args(
        self, video: VideoSpec, owner: Owner, *ranges: tuple[int, int, str], **changes: Any
    ) -> Table:
        output = f"{owner.root}/video_preds/cam.csv"
        args = table_step(video, owner, output, PROVENANCE, ranges or ((0, N_FRAMES, ""),))
        return replace(args, **changes)

    def test_what_was_read_is_recorded(self, video: VideoSpec, owner: Owner) -> None:
        read = read_of(video, n_bad=2)
        args = self.args(video, owner)
        _, made = do(
            args,
            Predicted(values(), make_frames(N_FRAMES, missing=[3, 4]), PROVENANCE, (read,)),
        )
        assert made.origin == Origin(digests.digest_of_json(PROVENANCE), (read,))
        assert videos_of(args.outputs["table"]) == (read,)

    def test_the_settings_are_those_that_were_used(self, video: VideoSpec, owner: Owner) -> None:
        done = {**PROVENANCE, "decoder": "cpu", "decoder_asked": "nvdec"}
        args = self.args(video, owner, provenance={**PROVENANCE, "decoder": "nvdec"})
        _, made = do(args, Predicted(values(), make_frames(N_FRAMES), done))
        assert made.origin.provenance == digests.digest_of_json(done)
        assert records.check(Path(args.outputs["table"]), done).done

    def test_ranges_of_an_earlier_run(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        read = read_of(video, n_bad=1)
        frames = make_frames(5, missing=[0])
        kept = write_range(
            tmp_path / "r", 0, values(5), PROVENANCE, frames=frames, source="", videos=(read,)
        )
        rest = replace(read, content="", n_bad=2)
        args = self.args(video, owner, (0, 5, str(kept)), (5, N_FRAMES, ""))
        do(args, Predicted(values(7), make_frames(7, missing=[1, 2]), PROVENANCE, (rest,)))
        assert videos_of(args.outputs["table"]) == (replace(read, n_bad=3),)

    def test_ranges_of_two_files(self, video: VideoSpec, owner: Owner) -> None:
        read = read_of(video)
        other = replace(read, identity=Identity(9, inode=1), content="another")
        args = self.args(video, owner, (0, 5, ""), (5, N_FRAMES, ""))
        parts = (
            Predicted(values(5), make_frames(5), PROVENANCE, (read,)),
            Predicted(values(7), make_frames(7), PROVENANCE, (other,)),
        )
        _, failure = do(args, *parts)
        assert isinstance(failure, Failure)
        assert failure.message == "the video changed while it was predicted in parts"
        assert failure.path == video.path
        assert not Path(args.outputs["table"]).exists()

    def test_hosts_that_know_the_file_by_other_inodes(self, video: VideoSpec) -> None:
        read = read_of(video)
        elsewhere = replace(read, identity=Identity(read.identity.size, inode=1))
        _, videos = joined(video, [PROVENANCE, PROVENANCE], [elsewhere, replace(read, content="")])
        assert videos == (elsewhere,)

    def test_other_settings(self, video: VideoSpec) -> None:
        with pytest.raises(TableError, match="different settings"):
            joined(video, [PROVENANCE, {**PROVENANCE, "precision": "fp16"}], [])


class TestMadeOfATable:
    def test_metrics(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        output = str(tmp_path / "o" / "cam_temporal_norm.csv")
        provenance = {"kind": "metrics", "table": "planned"}
        origin = Origin("as it came out", (read_of(video, n_bad=1),))
        do(
            metrics_step(video, owner, {TEMPORAL_NORM: output}, provenance),
            table(owner, origin),
        )
        assert records.check(Path(output), {**provenance, "table": "as it came out"}).done
        assert videos_of(output) == origin.videos

    def test_drawn(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        output = str(tmp_path / "o" / "cam_labeled.mp4")
        origin = Origin("r", (read_of(video, n_bad=1),))
        do(label_step(video, owner, output, {"kind": "label"}), table(owner, origin))
        assert videos_of(output) == origin.videos

    def test_drawn_without_knowing_what_the_table_is_of(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        output = str(tmp_path / "o" / "cam_labeled.mp4")
        do(label_step(video, owner, output, {"kind": "label"}), table(owner))
        assert videos_of(output) == (read_of(video),)

    def test_not_drawn_on_another_video(
        self, video: VideoSpec, owner: Owner, tmp_path: Path
    ) -> None:
        output = str(tmp_path / "o" / "cam_labeled.mp4")
        make_video(tmp_path / "cam.mp4", n_frames=N_FRAMES, quality=30)
        _, failure = do(label_step(video, owner, output, {"kind": "label"}), table(owner))
        assert isinstance(failure, Failure)
        assert failure.message == "the video changed after the run was planned"
        assert not Path(output).exists()

    def test_times(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        path = tmp_path / "o" / "cam.csv"
        args = timestamps_step(video, owner, str(path), PROVENANCE)
        do(args, table(owner, Origin("as it came out", (read_of(video),))))
        output = frames_beside(path)
        assert records.check(
            output, {**frames_provenance(PROVENANCE), "table": "as it came out"}
        ).done
        assert videos_of(str(output)) == (read_of(video),)
        (tmp_path / "cam.mp4").unlink()
        _, failure = do(args, table(owner))
        assert isinstance(failure, Failure)
        assert failure.message.startswith("the video is gone")


class TestLoad:
    @pytest.fixture
    def committed(self, video: VideoSpec, owner: Owner) -> str:
        args = TestTable().args(video, owner)
        do(args, Predicted(values(), make_frames(N_FRAMES), PROVENANCE, (read_of(video),)))
        return args.outputs["table"]

    def test_the_record_says_what_it_was_made_from(self, video: VideoSpec, committed: str) -> None:
        digest = remembered_digest(Path(committed))
        _, loaded = do(load_step(video, committed, digest=digest, recorded=True))
        assert loaded.origin == Origin(digests.digest_of_json(PROVENANCE), (read_of(video),))
        _, theirs = do(load_step(video, committed, digest=digest))
        assert theirs.origin is None

    def test_a_table_that_changed_after_the_plan(self, video: VideoSpec, committed: str) -> None:
        digest = remembered_digest(Path(committed))
        with open(committed, "a") as file:
            file.write("12,1,1,1,1,1,1,1,1,1\n")
        _, failure = do(load_step(video, committed, digest=digest, recorded=True))
        assert isinstance(failure, Failure)
        assert failure.message == "the table changed after the run was planned"
        assert failure.path == committed


class TestOtherInputs:
    def test_boxes(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        path = tmp_path / "cam_bbox.csv"
        path.write_text("x,y,h,w\n1,2,30,40\n")
        provenance = {**PROVENANCE, "boxes": remembered_digest(path)}
        assert bbox_as_planned([str(path)], [provenance])[0].tolist() == [[1, 2, 30, 40]]
        path.write_text("x,y,h,w\n9,2,30,40\n")
        with pytest.raises(VideoError, match="the bounding boxes changed after the run"):
            bbox_as_planned([str(path)], [provenance])

    def test_labels(self, video: VideoSpec, tmp_path: Path) -> None:
        labels = tmp_path / "data" / "CollectedData.csv"
        labels.parent.mkdir()
        rows = [["scorer"] + ["s"] * 6, ["bodyparts", *"aabbcc"], ["coords"] + ["x", "y"] * 3]
        random = np.random.default_rng(0)
        rows += [[f"i{n}.png", *map(str, random.uniform(1, 60, 6))] for n in range(20)]
        labels.write_text("\n".join(map(",".join, rows)) + "\n")
        for n in range(20):
            Image.new("L", (64, 64)).save(labels.with_name(f"i{n}.png"))
        model = open_model(
            fake_model(
                tmp_path / "m",
                data_dir=str(labels.parent),
                data={"columns_for_singleview_pca": [0, 1, 2]},
            )
        )
        owner = Owner("m", str(tmp_path / "o"), model)
        output = str(tmp_path / "o" / "pca.csv")
        provenance = {"kind": "metrics", "labels": fit_and_digest(model)[1]}
        args = metrics_step(video, owner, {PCA_SINGLEVIEW: output}, provenance)
        _, made = do(args, table(owner))
        assert made is None
        assert records.check(Path(output), provenance).done
        labels.write_text(labels.read_text().replace("i3.png,", "i3.png,1"))
        _, failure = do(args, table(owner))
        assert isinstance(failure, Failure)
        assert failure.message == "the training labels changed after the run was planned"
        assert failure.path == str(labels)

    def test_a_calibration(self, video: VideoSpec, owner: Owner, tmp_path: Path) -> None:
        path = tmp_path / "calibration.toml"
        path.write_text("")
        views = (replace(video, view="left"), replace(video, view="right", key="cam2"))
        provenance = {"kind": "smoothed", "calibration": "another"}
        root = str(tmp_path / "o")
        step = smooth_step(views, root, ("a", "b"), provenance, calibration=str(path))
        task = task_of(step, outputs=("left", "right"))
        _, (failure, _) = execute(task, [table(owner)] * 4, make_context())
        assert failure.error == "SmoothingError"
        assert failure.message == "the calibration changed after the run was planned"
        assert failure.path == str(path)


class TestMembers:
    def test_tables_are_named_as_they_came_out(self) -> None:
        provenance = {"kind": "smoothed", "members": [["a", "b"], ["c", "d"]]}
        origins = [Origin("A"), None, Origin("c"), Origin("D")]
        assert of_members(provenance, origins, 2)["members"] == [["A", "b"], ["c", "D"]]

    def test_of_tables_of_unknown_origin(self) -> None:
        provenance = {"kind": "smoothed", "members": [["a", "b"]]}
        assert of_members(provenance, [None, None], 2) == provenance


def test_a_video_that_is_cut_short_while_it_is_read(video: VideoSpec) -> None:
    index = index_video(video.path)
    assert index.packets is not None
    os.truncate(video.path, int(index.packets.position[5]) + 3)
    with (
        pytest.raises(VideoError, match="the video changed while it was read"),
        FrameReader(index) as reader,
    ):
        list(reader)


def test_a_record_of_a_run_names_files_as_json(video: VideoSpec, owner: Owner) -> None:
    args = TestTable().args(video, owner)
    do(args, Predicted(values(), make_frames(N_FRAMES), PROVENANCE, (read_of(video),)))
    folder = Path(args.outputs["table"]).parent / ".raypose"
    record = json.loads((folder / "cam.csv.json").read_text())
    status = os.stat(video.path)
    assert record["videos"] == [
        {
            "fingerprint": video.fingerprint,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "ctime_ns": status.st_ctime_ns,
            "inode": status.st_ino,
            "content": read_of(video).content,
            "n_bad": 0,
        }
    ]
    shutil.rmtree(folder)
    assert records.read_record(Path(args.outputs["table"])) is None
