"""From arguments to tables: what is found, what is left out, which video each is of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from raypose.errors import UsageError
from raypose.inputs.tables import FoundTables, find_tables
from raypose.storage.layout import output_paths
from raypose.tables.keypoints import (
    COORDS,
    EKS_COORDS,
    EKS_SCORER,
    KeypointTable,
    write_csv,
    write_metric_csv,
)
from tests.tables import write_dlc_csv, write_dlc_h5, write_sleap_csv, write_sleap_h5


def table(scorer: str = "heatmap_tracker", coords: tuple[str, ...] = COORDS) -> KeypointTable:
    return KeypointTable(scorer, ("nose",), coords, np.ones((5, 1, len(coords)), np.float32))


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(table(), path)
    return path


def found(*arguments: Path) -> FoundTables:
    return find_tables([str(argument) for argument in arguments])


def keys(*arguments: Path) -> list[str]:
    return [t.key for t in found(*arguments).tables]


class TestFind:
    @pytest.mark.parametrize("folder", ["video_preds", "video_preds_infer"])
    def test_a_model_directory(self, tmp_path: Path, folder: str) -> None:
        preds = tmp_path / "m1" / folder
        put(preds / "a.csv")
        put(preds / "day1" / "cam.csv")
        write_metric_csv(preds / "a_temporal_norm.csv", ["nose"], np.ones((5, 1)))
        write_metric_csv(preds / "a_pca_singleview_error.csv", ["nose"], np.ones((5, 1)))
        for excluded in ("snippets/a.short.csv", "timestamps/a.csv", ".raypose/b.csv"):
            put(preds / excluded)
        put(preds / "a.short.csv")
        put(tmp_path / "m1" / "other.csv")
        first, second = found(tmp_path / "m1").tables
        assert (first.key, second.key) == ("a", "day1/cam")
        assert first.folder == second.folder == tmp_path / "m1"
        assert found(preds).tables == (first, second)
        assert found(second.path).tables == (second,)

    def test_a_directory_of_tables(self, tmp_path: Path) -> None:
        put(tmp_path / "b.csv")
        put(tmp_path / "a.short.csv")
        put(tmp_path / "sub" / "c.csv")
        (tmp_path / "video.mp4").touch()
        assert keys(tmp_path) == ["a.short", "b"]

    def test_no_other_output_of_a_run_is_named(self, tmp_path: Path) -> None:
        paths = output_paths(tmp_path, "a", "app")
        put(Path(paths.predictions))
        for other in (paths.worst, paths.frames, paths.metric("temporal_norm")):
            Path(other).parent.mkdir(exist_ok=True)
            Path(other).write_text("frame,time_s\n1,2\n")
        put(Path(paths.snippet_predictions))
        assert keys(tmp_path) == ["a"]
        assert found(tmp_path).excluded == ()

    def test_globs_of_files_and_of_directories(self, tmp_path: Path) -> None:
        a, b = put(tmp_path / "m1" / "a.csv"), put(tmp_path / "m2" / "a.csv")
        for pattern in ("m*", "m*/a.csv", "*/*"):
            assert [t.path for t in found(tmp_path / pattern).tables] == [a, b]

    def test_each_once(self, tmp_path: Path) -> None:
        a = put(tmp_path / "a.csv")
        assert len(found(a, tmp_path, a).tables) == 1

    def test_what_is_excluded_is_said(self, tmp_path: Path) -> None:
        put(tmp_path / "a.csv")
        (tmp_path / "notes.csv").write_text("a,b\n1,2\n")
        (tmp_path / "empty").mkdir()
        write_csv(table(EKS_SCORER, EKS_COORDS), tmp_path / "s.csv")
        bones = pd.DataFrame(np.ones((3, 1)), columns=pd.MultiIndex.from_tuples([("b", "length")]))
        bones.to_hdf(tmp_path / "aDLC_x_skeleton.h5", key="k", format="table", mode="w")
        result = found(tmp_path, tmp_path / "empty")
        assert [t.key for t in result.tables] == ["a"]
        assert {path.name: reason for path, reason in result.excluded} == {
            "aDLC_x_skeleton.h5": "is no table of predictions",
            "notes.csv": "is no table of predictions",
            "s.csv": "is smoothed already",
            "empty": "holds no table",
        }

    def test_a_damaged_table_is_a_table(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").touch()
        (tmp_path / "bDLC_resnet50_x.h5").write_bytes(b"\x89HDF\r\n\x1a\nbroken")
        assert keys(tmp_path) == ["a", "b"]

    def test_nothing_there(self, tmp_path: Path) -> None:
        for argument in (tmp_path, tmp_path / "no.csv", tmp_path / "*.csv"):
            with pytest.raises(UsageError):
                found(argument)

    def test_a_store(self) -> None:
        with pytest.raises(UsageError, match="not from a store"):
            find_tables(["s3://bucket/out"])

    def test_directories_of_models_are_named(self, tmp_path: Path) -> None:
        put(tmp_path / "m1" / "video_preds" / "a.csv")
        with pytest.raises(UsageError) as caught:
            found(tmp_path)
        assert "m1" in caught.value.hint


class TestNames:
    def one(self, path: Path) -> tuple[str, str]:
        (only,) = found(path).tables
        return only.key, only.label

    @pytest.mark.parametrize("write", [write_dlc_csv, write_dlc_h5])
    @pytest.mark.parametrize("filtered", ["", "_filtered"])
    def test_deeplabcut(self, tmp_path: Path, write, filtered: str) -> None:  # type: ignore[no-untyped-def]
        scorer = "DLC_resnet50_reachOct30shuffle1_50000"
        path = write(table(), tmp_path / f"rec_1{scorer}{filtered}.csv", scorer)
        assert self.one(path) == ("rec_1", scorer + filtered)

    def test_deeplabcut_that_was_renamed(self, tmp_path: Path) -> None:
        path = write_dlc_csv(table(), tmp_path / "rec_1DLC_mine.csv", "DLC_resnet50_x")
        assert self.one(path) == ("rec_1", "DLC_mine")
        path = write_dlc_csv(table(), tmp_path / "rec_2.csv", "DLC_resnet50_x")
        assert self.one(path) == ("rec_2", "")

    @pytest.mark.parametrize(
        ("stem", "label"),
        [
            ("video.mp4.predictions.analysis", ".mp4.predictions.analysis"),
            ("labels.v1.000_video.analysis", "labels.v1.000_.analysis"),
            ("video", ""),
        ],
    )
    def test_sleap(self, tmp_path: Path, stem: str, label: str) -> None:
        assert self.one(write_sleap_h5(table(), tmp_path / f"{stem}.h5")) == ("video", label)
        assert self.one(write_sleap_csv(table(), tmp_path / f"{stem}.csv")) == ("video", label)

    def test_a_sleap_file_knows_its_video(self, tmp_path: Path) -> None:
        path = write_sleap_h5(table(), tmp_path / "model2-video.h5")
        assert self.one(path) == ("video", "model2-")

    def test_lightning_pose(self, tmp_path: Path) -> None:
        assert self.one(put(tmp_path / "a_DLC_b.csv")) == ("a_DLC_b", "")


class TestDoubles:
    def test_csv_rather_than_hdf5(self, tmp_path: Path) -> None:
        write_dlc_csv(table(), tmp_path / "aDLC_x.csv", "DLC_x")
        write_dlc_h5(table(), tmp_path / "aDLC_x.h5", "DLC_x")
        result = found(tmp_path)
        assert [t.path.name for t in result.tables] == ["aDLC_x.csv"]
        assert [path.name for path, _ in result.excluded] == ["aDLC_x.h5"]

    def test_the_filtered_table_is_no_second_member(self, tmp_path: Path) -> None:
        for name in ("aDLC_x.h5", "aDLC_x_filtered.h5", "bDLC_x_filtered.h5"):
            write_dlc_h5(table(), tmp_path / name, "DLC_x")
        assert [t.path.name for t in found(tmp_path).tables] == ["aDLC_x.h5", "bDLC_x_filtered.h5"]
