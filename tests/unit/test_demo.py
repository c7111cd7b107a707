"""The demo's figure and project: known keypoints, files that are verified, places of its own."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from raypose.demo import DemoResult, figure, run_demo
from raypose.demo import project as files
from raypose.demo.contact_sheet import write_contact_sheet
from raypose.errors import UsageError
from raypose.pipeline import RunResult
from raypose.planning import Plan
from raypose.tables.keypoints import read_csv

# What is painted at a keypoint; the middle of the tail bears no mark of its own.
COLORS = {
    "nose": (255, 92, 128),
    "ear_left": (40, 120, 255),
    "ear_right": (255, 196, 0),
    "back": (60, 205, 90),
    "tail_base": (245, 245, 245),
    "tail_tip": (160, 60, 220),
}
SEEDS_IN_USE = [*range(files.N_VIDEOS), *range(100, 100 + files.N_RECORDINGS)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> files.Project:
    project = files.claim(tmp_path_factory.mktemp("demo") / "new")
    files.make_videos(project, lambda fraction: None)
    files.make_labels(project)
    return project


def colour_errors(picture: np.ndarray, keypoints: np.ndarray) -> dict[str, float]:
    """Largest difference between what is painted and what should be, 1 pixel around."""
    errors = {}
    for name, (x, y) in zip(figure.KEYPOINTS, np.rint(keypoints).astype(int), strict=True):
        if name in COLORS:
            patch = picture[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3).mean(axis=0)
            errors[name] = float(np.abs(patch - COLORS[name]).max())
    return errors


class TestFigure:
    @pytest.mark.parametrize("seed", SEEDS_IN_USE)
    def test_every_keypoint_stays_in_the_frame(self, seed: int) -> None:
        xy = np.array([figure.keypoints(pose) for pose in figure.walk(400, seed)])
        assert xy.min() > 4
        assert xy.max() < figure.SIZE - 5

    def test_it_moves_smoothly(self) -> None:
        xy = np.array([figure.keypoints(pose) for pose in figure.walk(400, 0)])
        steps = np.linalg.norm(np.diff(xy, axis=0), axis=-1)
        assert steps.max() < 25
        assert steps.mean() > 1

    def test_colours_lie_where_the_keypoints_are(self) -> None:
        ground = figure.floor(1)
        for pose in figure.walk(200, 1)[::20]:
            errors = colour_errors(figure.draw(pose, ground), figure.keypoints(pose))
            assert max(errors.values()) < 12, errors

    def test_a_spot_is_centred_on_its_keypoint_to_a_tenth_of_a_pixel(self) -> None:
        ground = np.zeros((figure.SIZE, figure.SIZE, 3), np.uint8)
        for pose in figure.walk(100, 2)[::25]:
            picture = figure.draw(pose, ground).astype(float)
            # The spot on the back is the only thing much greener than it is red.
            weight = np.clip(picture[..., 1] - picture[..., 0] - 10, 0, None)
            weight *= picture[..., 2] < 130
            rows, columns = np.mgrid[: figure.SIZE, : figure.SIZE]
            x, y = (weight * columns).sum() / weight.sum(), (weight * rows).sum() / weight.sum()
            true = figure.keypoints(pose)[figure.KEYPOINTS.index("back")]
            assert np.hypot(x - true[0], y - true[1]) < 0.1

    def test_equal_seeds_give_equal_recordings(self) -> None:
        assert figure.walk(50, 3) == figure.walk(50, 3)
        assert figure.walk(50, 3) != figure.walk(50, 4)
        assert np.array_equal(figure.floor(3), figure.floor(3))


class TestProject:
    def test_videos_show_the_true_keypoints(self, project: files.Project) -> None:
        for path in project.videos:
            truth = read_csv(project.truth(path.stem))
            assert truth.keypoint_names == figure.KEYPOINTS
            with av.open(str(path)) as container:
                assert container.streams.video[0].codec_context.name == "h264"
                pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
            assert len(pictures) == truth.n_frames == files.N_FRAMES
            assert pictures[0].shape == (figure.SIZE, figure.SIZE, 3)
            # The colours suffer in 4:2:0 and by the codec; a spot elsewhere differs by 100.
            for i in (0, 77, files.N_FRAMES - 1):
                errors = colour_errors(pictures[i], truth.xy[i])
                assert max(errors.values()) < 70, errors

    @pytest.mark.filterwarnings("ignore")
    def test_labels_are_read_by_pandas_as_lightning_pose_does(
        self, project: files.Project
    ) -> None:
        import pandas as pd

        table = pd.read_csv(project.labels, header=[0, 1, 2], index_col=0)
        assert len(table) == files.N_RECORDINGS * files.LABELS_EACH
        assert list(table.columns.get_level_values(1)[::2]) == list(figure.KEYPOINTS)
        for name in table.index[::37]:
            picture = cv2.imread(str(project.directory / name))[..., ::-1]
            errors = colour_errors(picture, table.loc[name].to_numpy().reshape(-1, 2))
            assert max(errors.values()) < 12, errors

    def test_what_is_there_is_not_made_again(self, project: files.Project) -> None:
        made: list[float] = []
        times = {path: path.stat().st_mtime_ns for path in (*project.videos, project.labels)}
        files.make_videos(project, made.append)
        files.make_labels(project)
        assert not made
        assert times == {path: path.stat().st_mtime_ns for path in times}

    def test_what_was_changed_is_made_again(self, project: files.Project) -> None:
        made: list[float] = []
        video = project.videos[1]
        before = video.read_bytes()
        video.write_bytes(before[: len(before) // 2])
        files.make_videos(project, made.append)
        assert len(made) == 1
        assert video.stat().st_size == len(before)

    def test_a_picture_that_is_gone_is_made_again(self, project: files.Project) -> None:
        picture = sorted((project.directory / "labeled-data").rglob("*.png"))[5]
        before = picture.read_bytes()
        picture.unlink()
        files.make_labels(project)
        assert picture.read_bytes() == before


def test_the_contact_sheet_shows_every_video(project: files.Project, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    write_contact_sheet(project.videos[:2], out, side=figure.SIZE, n_moments=3)
    sheet = cv2.imread(str(out))[..., ::-1]
    height, width = sheet.shape[:2]
    assert width == 8 + 3 * (figure.SIZE + 8)
    assert height == 2 * (24 + figure.SIZE + 8)
    with av.open(str(project.videos[1])) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    # The second of three moments is the middle of the 100 frames.
    top, left = height // 2 + 24, 8 + figure.SIZE + 8
    shown = sheet[top : top + figure.SIZE, left : left + figure.SIZE]
    assert np.abs(shown.astype(int) - frames[49]).mean() < 3


class TestPlace:
    def test_an_empty_directory_is_taken(self, tmp_path: Path) -> None:
        assert files.claim(tmp_path).directory == tmp_path
        assert (tmp_path / files.MARK).is_file()
        assert files.claim(tmp_path).directory == tmp_path

    def test_other_peoples_files_are_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.tex").write_text("all of it")
        with pytest.raises(UsageError, match="not the demo's"):
            run_demo(tmp_path, report=lambda text, done: None)
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]

    def test_a_file_is_no_directory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(UsageError, match="is a file"):
            files.claim(tmp_path / "file")

    def test_options_are_checked_before_anything_is_made(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="gpus"):
            run_demo(tmp_path / "demo", report=lambda text, done: None, gpus=0)
        assert not (tmp_path / "demo").exists()


def test_heatmaps_are_gaussians_around_the_points() -> None:
    import torch

    from raypose.demo.training import _heatmaps

    points = torch.tensor([[[10.0, 20.0], [15.25, 4.5]]])
    maps = _heatmaps(points, 32)
    assert maps.shape == (1, 2, 32, 32)
    along = torch.arange(32.0)
    for i in range(2):
        across, down = maps[0, i].sum(0), maps[0, i].sum(1)  # of columns, of rows
        x, y = (across * along).sum(), (down * along).sum()
        assert [float(x), float(y)] == pytest.approx(points[0, i].tolist(), abs=1e-3)
        assert float((across * (along - x) ** 2).sum().sqrt()) == pytest.approx(1.25, abs=0.01)


def test_the_errors_are_told_in_pixels_and_percent(tmp_path: Path) -> None:
    from raypose.config import RunConfig

    config = RunConfig(videos=("v",), models=("m",))
    result = RunResult(Plan(config, (), (), (), (), tmp_path), tmp_path)
    done = DemoResult({"seed-0": 5.12, "eks": 2.56}, [tmp_path / "a.mp4"], result, seconds=93.4)
    text = "\n".join(done.lines())
    assert "2.56 px" in text
    assert "2.00 %" in text
    assert "1.00 %" in text
    assert str(tmp_path / "a.mp4") in text
    assert "93 s" in text
