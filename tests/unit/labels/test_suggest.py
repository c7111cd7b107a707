"""Frames to label next: are they the bad ones, and can they be labelled where they are written?"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from raypose.errors import UsageError
from raypose.labels.choosing import choose, most_of_a_video
from raypose.labels.outputs import find_output_tables
from raypose.labels.suggest import candidates_of, suggest
from raypose.metrics.labels import read_label_file
from raypose.tables.keypoints import COORDS, KeypointTable
from tests.disk import largest_file
from tests.frames import make_frames
from tests.output_tables import commit_table
from tests.videos import make_video, read_number

NAMES = ("nose", "paw_left", "paw_right", "tail")
BODY = np.array([[0, 0], [30, 20], [30, -20], [80, 0]], np.float32)
N_FRAMES = 60
MODELS = ("model_a", "model_b", "model_c")


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def true_path(n: int, random: np.random.Generator) -> np.ndarray:
    """An animal that wanders and turns, (n, 4, 2)."""
    angle = np.cumsum(random.normal(0, 0.05, n))
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], axis=1)
    place = 300 + np.cumsum(random.normal(0, 2, (n, 2)), axis=0)
    return np.einsum("nij,kj->nki", turn.reshape(n, 2, 2), BODY) + place[:, None]


def member(truth: np.ndarray, hard: np.ndarray, random: np.random.Generator) -> KeypointTable:
    """Predictions that are a pixel off; in hard frames tens of pixels, often with confidence."""
    n = len(truth)
    spread = np.where(hard, random.choice([10.0, 25.0, 40.0], n), 1.0)
    values = np.empty((n, len(NAMES), 3), np.float32)
    values[..., :2] = truth + random.normal(0, spread[:, None, None], truth.shape)
    sure = ~hard | (random.random(n) < 0.5)
    values[..., 2] = np.where(sure, 0.97, 0.4)[:, None] + random.uniform(0, 0.03, (n, len(NAMES)))
    return KeypointTable("heatmap_tracker", NAMES, COORDS, values)


def commit_run(out: Path, seed: int, *, n_videos: int, n_frames: int, videos: Path) -> dict:
    """Three members on some videos, a twentieth of whose frames is hard; the truth of each."""
    random = np.random.default_rng(seed)
    truths = {}
    for v in range(n_videos):
        key = f"cam{v}"
        truth, hard = true_path(n_frames, random), np.zeros(n_frames, bool)
        for start in random.integers(5, n_frames - 10, n_frames // 100):
            hard[start : start + 5] = True
        for model in MODELS:
            table = member(truth, hard, random)
            commit_table(out, model, key, table, videos / f"{key}.mp4")
        truths[key] = truth
    return truths


def error_of(truths: dict, tables: dict, video: str, frame: int) -> float:
    """Mean distance of the members' median from the truth, in pixels."""
    median = np.median([table.xy[frame] for table in tables[video]], axis=0)
    return float(np.linalg.norm(median - truths[video][frame], axis=1).mean())


@pytest.mark.parametrize("seed", range(5))
def test_suggested_frames_have_three_times_the_error_of_random_ones(
    seed: int, tmp_path: Path
) -> None:
    n, n_videos, n_frames = 20, 4, 400
    truths = commit_run(tmp_path, seed, n_videos=n_videos, n_frames=n_frames, videos=tmp_path)
    by_video: dict[str, list] = {}
    for table in find_output_tables(tmp_path):
        by_video.setdefault(table.key, []).append(table)
    most = 4 * most_of_a_video(n, n_videos)
    candidates = [c for key, tables in by_video.items() for c in candidates_of(key, tables, most)]
    chosen = choose(candidates, n)[:n]
    tables = {key: [table.read() for table in of_video] for key, of_video in by_video.items()}
    suggested = np.mean([error_of(truths, tables, c.video, c.frame) for c in chosen])
    random = np.random.default_rng(1000 + seed)
    drawn = zip(random.choice(list(truths), 400), random.integers(0, n_frames, 400), strict=True)
    usual = np.mean([error_of(truths, tables, video, int(frame)) for video, frame in drawn])
    print(f"seed {seed}: suggested {suggested:.1f} px, random {usual:.1f} px")
    assert suggested > 3 * usual
    assert len({c.video for c in chosen}) == n_videos


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An output directory with videos `../videos/cam0.mp4` and `cam1.mp4`."""
    root = tmp_path_factory.mktemp("run")
    (root / "videos").mkdir()
    for v in range(2):
        make_video(root / "videos" / f"cam{v}.mp4", n_frames=N_FRAMES)
    commit_run(root / "out", 0, n_videos=2, n_frames=N_FRAMES, videos=root / "videos")
    return root / "out"


class TestProject:
    def test_images_and_first_guesses(self, run: Path, tmp_path: Path) -> None:
        written = suggest(run, 6, tmp_path / "project")
        assert len(written.frames) == 6 and written.notes == ()
        assert Counter(f.video for f in written.frames).keys() == {"cam0", "cam1"}
        (labels,) = written.labels
        assert labels == tmp_path / "project" / "CollectedData_suggested.csv"
        frame = written.frames[0]
        folder = labels.parent / "labeled-data" / frame.video
        for number in range(max(0, frame.frame - 2), min(N_FRAMES, frame.frame + 3)):
            image = np.asarray(Image.open(folder / f"img{number:08d}.png"))
            assert read_number(image) == number
        table = pd.read_csv(labels, header=[0, 1, 2], index_col=0)
        assert list(table.columns.get_level_values("bodyparts").unique()) == list(NAMES)
        assert list(table.columns.get_level_values("coords").unique()) == ["x", "y"]
        name = f"labeled-data/{frame.video}/img{frame.frame:08d}.png"
        np.testing.assert_allclose(table.loc[name].to_numpy(), frame.xy.ravel(), atol=1e-3)
        project = yaml.safe_load((labels.parent / "project.yaml").read_text())
        assert project["keypoint_names"] == list(NAMES) and project["view_names"] == []

    def test_lightning_pose_reads_the_labels(self, run: Path, tmp_path: Path) -> None:
        io = pytest.importorskip("lightning_pose.utils.io")
        (labels,) = suggest(run, 4, tmp_path).labels
        parsed = io.parse_label_csv(str(labels))
        assert parsed.keypoint_names == list(NAMES)
        assert parsed.keypoints.shape == (4, len(NAMES), 2)
        for name in parsed.image_names:
            around = io.get_context_img_paths(tmp_path / name)
            assert all(path.exists() for path in around[:3])

    def test_a_second_call_changes_nothing_and_finds_other_frames(
        self, run: Path, tmp_path: Path
    ) -> None:
        mine = tmp_path / "CollectedData.csv"
        first = suggest(run, 4, tmp_path)
        shutil.copy(first.labels[0], mine)
        image = next(tmp_path.rglob("*.png"))
        image.write_bytes(b"mine")
        before = first.labels[0].read_bytes()
        second = suggest(run, 4, tmp_path)
        assert second.labels == (tmp_path / "CollectedData_suggested_2.csv",)
        assert first.labels[0].read_bytes() == mine.read_bytes() == before
        assert image.read_bytes() == b"mine"
        for old in first.frames:
            for new in second.frames:
                assert old.video != new.video or abs(old.frame - new.frame) >= 5

    def test_a_project_that_exists_gets_no_project_yaml(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("data: {}")
        suggest(run, 2, tmp_path)
        assert not (tmp_path / "project.yaml").exists()

    def test_the_form_of_deeplabcut(self, run: Path, tmp_path: Path) -> None:
        (tmp_path / "config.yaml").write_text("scorer: ada")
        written = suggest(run, 4, tmp_path, "dlc")
        assert {path.name for path in written.labels} == {"CollectedData_ada.csv"}
        names = [
            f"labeled-data/{frame.video}/img{frame.frame:08d}.png" for frame in written.frames
        ]
        read = [image for path in written.labels for image in read_label_file(path).images]
        assert read == names
        assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*.png")) == sorted(
            names
        )
        table = pd.read_csv(written.labels[0], header=[0, 1, 2], index_col=[0, 1, 2])
        assert table.columns.get_level_values(0).unique().tolist() == ["ada"]
        assert table.index[0][:2] == ("labeled-data", written.frames[0].video)
        with pytest.raises(UsageError, match="DeepLabCut takes one file of labels per video"):
            suggest(run, 4, tmp_path, "dlc")

    def test_damaged_frames_and_videos_that_are_gone(self, run: Path, tmp_path: Path) -> None:
        videos = run.parent / "videos"
        random = np.random.default_rng(3)
        table = member(true_path(N_FRAMES, random), np.zeros(N_FRAMES, bool), random)
        table.values[10:20, :, 2] = 0
        frames = make_frames(N_FRAMES, suspect=range(10, 15), missing=range(15, 20))
        damaged = KeypointTable(table.scorer, NAMES, COORDS, table.values, frames=frames)
        commit_table(tmp_path / "out", "m", "cam0", damaged, videos / "cam0.mp4")
        commit_table(tmp_path / "out", "m", "gone", table, videos / "gone.mp4")
        written = suggest(tmp_path / "out", 5, tmp_path / "p")
        assert {frame.video for frame in written.frames} == {"cam0"}
        assert not {frame.frame for frame in written.frames} & set(range(10, 20))
        assert any(
            note.startswith("gone: left out, since its video is gone") for note in written.notes
        )

    def test_a_video_that_cannot_be_read(self, run: Path, tmp_path: Path) -> None:
        out, video = tmp_path / "out", tmp_path / "broken.mp4"
        make_video(video, n_frames=N_FRAMES)
        shutil.copytree(run, out)
        random = np.random.default_rng(3)
        table = member(true_path(N_FRAMES, random), np.ones(N_FRAMES, bool), random)
        commit_table(out, "model_a", "broken", table, video)
        video.write_bytes(video.read_bytes()[:500])
        written = suggest(out, 4, tmp_path / "p")
        assert {frame.video for frame in written.frames} == {"cam0", "cam1"}
        (note,) = (note for note in written.notes if note.startswith("broken: "))
        assert str(video) in note and "left out" in note

    def test_too_few_bad_frames(self, run: Path, tmp_path: Path) -> None:
        written = suggest(run, 100, tmp_path)
        n = len(written.frames)
        assert n < 100
        assert written.notes[-1].startswith(f"{n} frames instead of 100: no others look bad")

    def test_a_full_disk_leaves_no_torn_labels(self, run: Path, tmp_path: Path) -> None:
        written = suggest(run, 4, tmp_path / "whole")
        n_bytes = written.labels[0].stat().st_size
        (tmp_path / "p").mkdir()
        (tmp_path / "p" / "config.yaml").touch()
        shutil.copytree(tmp_path / "whole" / "labeled-data", tmp_path / "p" / "labeled-data")
        with largest_file(n_bytes - 1), pytest.raises(OSError) as caught:
            suggest(run, 4, tmp_path / "p")
        assert not list((tmp_path / "p").glob("*.csv"))
        assert sorted(path.name for path in (tmp_path / "p").iterdir()) == [
            "config.yaml",
            "labeled-data",
        ]
        assert caught.value.filename == str(tmp_path / "p" / "CollectedData_suggested.csv")

    def test_another_video_in_the_place_of_the_predicted_one(self, tmp_path: Path) -> None:
        video = make_video(tmp_path / "cam0.mp4", n_frames=N_FRAMES)
        random = np.random.default_rng(3)
        table = member(true_path(N_FRAMES, random), np.zeros(N_FRAMES, bool), random)
        commit_table(tmp_path / "out", "m", "cam0", table, video)
        make_video(video, n_frames=N_FRAMES, quality=30)
        with pytest.raises(UsageError, match="this is not the video that was predicted"):
            suggest(tmp_path / "out", 2, tmp_path / "p")

    def test_pictures_that_look_the_same_are_suggested_once(self, tmp_path: Path) -> None:
        def still(i: int, width: int, height: int) -> np.ndarray:
            return np.full((height, width, 3), 90 if i < 40 else 160)

        video = make_video(tmp_path / "cam.mp4", n_frames=N_FRAMES, picture=still)
        random = np.random.default_rng(4)
        table = member(true_path(N_FRAMES, random), np.ones(N_FRAMES, bool), random)
        commit_table(tmp_path / "out", "m", "cam", table, video)
        written = suggest(tmp_path / "out", 5, tmp_path / "p")
        assert len(written.frames) == 2
        (n_alike,) = re.findall(r"^cam: (\d+) frames look the same as others$", written.notes[0])
        n = int(n_alike) + 2
        reason = f"of {n} candidates, {n_alike} were left out"
        assert written.notes[1] == f"2 frames instead of 5: {reason}"


def test_a_directory_without_tables(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no table of predictions of a run"):
        suggest(tmp_path, 5, tmp_path / "p")
    with pytest.raises(UsageError, match="is no directory on this machine"):
        suggest(tmp_path / "none", 5, tmp_path / "p")
    with pytest.raises(UsageError, match="is no directory on this machine"):
        suggest("s3://bucket/out", 5, tmp_path / "p")
