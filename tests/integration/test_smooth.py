"""`raypose smooth`, from the command line to the files: the tables that `eks` itself makes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from typer.testing import CliRunner

import raypose
from raypose import cli
from raypose.eks.pupil import PUPIL_KEYPOINTS
from raypose.tables.keypoints import KeypointTable, read_csv, write_csv, write_metric_csv
from tests.stores import BUCKET, Store
from tests.tables import write_dlc_h5, write_sleap_csv, write_sleap_h5
from tests.unit.eks.ensembles import (
    NAMES,
    make_members,
    make_views,
    mirrored_members,
    pupil_members,
    write_views,
)

# eks, jax and aniposelib warn about each other; nothing of it is about raypose.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))


def put(tables: Sequence[KeypointTable], root: Path, stem: str) -> list[Path]:
    """A table for each model directory `m0`, `m1`, …, with a metric beside it."""
    paths = []
    for i, table in enumerate(tables):
        folder = root / f"m{i}" / "video_preds"
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(table, folder / f"{stem}.csv")
        norms = np.ones((table.n_frames, len(table.keypoint_names)))
        write_metric_csv(folder / f"{stem}_temporal_norm.csv", table.keypoint_names, norms)
        paths.append(folder / f"{stem}.csv")
    return paths


def raypose_smooth(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, ["smooth", "--inline", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def models(root: Path) -> list[Path]:
    return sorted(root.glob("m*"))


def columns(frame: pd.DataFrame, names: Sequence[str]) -> npt.NDArray[Any]:
    """x and y of each keypoint, shape (n_frames, n_keypoints, 2)."""
    frame = frame.droplevel(0, axis=1)
    return np.stack([frame[name][["x", "y"]].to_numpy() for name in names], axis=1)


def written(path: Path, names: Sequence[str]) -> npt.NDArray[Any]:
    return read_csv(path).select(names).xy


def test_one_camera(tmp_path: Path) -> None:
    from eks.singlecam_smoother import fit_eks_singlecam

    out = tmp_path / "out"
    files = {stem: put(make_members(seed=i), tmp_path, stem) for i, stem in enumerate(("a", "b"))}
    code, said = raypose_smooth(*models(tmp_path), "-o", out)
    assert code == 0, said
    for stem, members in files.items():
        frame, params, *_ = fit_eks_singlecam(
            [str(path) for path in members], str(tmp_path / "eks" / f"{stem}.csv")
        )
        table = out / "video_preds" / f"{stem}.csv"
        assert list(pd.read_csv(table, header=[0, 1, 2], index_col=0).columns) == list(
            frame.columns
        )
        np.testing.assert_allclose(written(table, NAMES), columns(frame, NAMES), atol=0.05)
        chosen = json.loads((out / "smooth_params" / f"{stem}.json").read_text())
        assert (chosen["mode"], chosen["members"]) == ("singlecam", ["m0", "m1", "m2"])
        np.testing.assert_allclose(list(chosen["smooth_params"].values()), params, rtol=0.05)
    assert sorted(p.name for p in (out / "video_preds").glob("*.csv")) == ["a.csv", "b.csv"]

    # What is done is not done again, until a table that it is made from has changed.
    tables = out / "video_preds"
    times = {path: path.stat().st_mtime_ns for path in tables.rglob("*.csv")}
    code, said = raypose_smooth(*models(tmp_path), "-o", out)
    assert (code, "Nothing to do: all outputs of 2 videos" in said) == (0, True)
    put(make_members(seed=9), tmp_path, "b")
    code, said = raypose_smooth(*models(tmp_path), "-o", out)
    assert code == 0
    changed = [p.name for p in tables.rglob("*.csv") if p.stat().st_mtime_ns != times[p]]
    assert changed == ["b.csv"]


def test_tables_of_other_tools_give_the_same(tmp_path: Path) -> None:
    members = make_members()
    put(members, tmp_path / "lp", "a")
    for folder in ("dlc", "sleap"):
        (tmp_path / folder).mkdir()
    for i, table in enumerate(members):
        scorer = f"DLC_resnet50_p{i}"
        write_dlc_h5(table, tmp_path / "dlc" / f"a{scorer}.h5", scorer)
        write_sleap_h5(table, tmp_path / "sleap" / f"model{i}.000_a.analysis.h5")
    outs = []
    for folder in ("lp", "dlc", "sleap"):
        given = models(tmp_path / "lp") if folder == "lp" else [tmp_path / folder]
        out = tmp_path / f"out-{folder}"
        code, said = raypose_smooth(*given, "-o", out)
        assert code == 0, said
        outs.append(read_csv(out / "video_preds" / "a.csv"))
        assert outs[-1].keypoint_names == NAMES
    for table in outs[1:]:
        np.testing.assert_allclose(table.values, outs[0].values, rtol=1e-5, atol=1e-4)


def test_mirrored_views(tmp_path: Path) -> None:
    from eks.multicam_smoother import fit_eks_mirrored_multicam

    members = mirrored_members(make_views(tmp_path / "calibration.toml", views=("top", "bot")))
    files = put(members, tmp_path, "a")
    code, said = raypose_smooth(*models(tmp_path), "-o", tmp_path / "out", "--mirrored", "top,bot")
    assert code == 0, said
    frame, *_ = fit_eks_mirrored_multicam(
        [str(path) for path in files],
        str(tmp_path / "eks" / "o.csv"),
        bodypart_list=list(NAMES),
        camera_names=["top", "bot"],
        quantile_keep_pca=95.0,
    )
    names = [f"{name}_{view}" for view in ("top", "bot") for name in NAMES]
    ours = written(tmp_path / "out" / "video_preds" / "a.csv", names)
    np.testing.assert_allclose(ours, columns(frame, names), atol=0.05)


@pytest.mark.parametrize("calibrated", [False, True])
def test_several_cameras(tmp_path: Path, calibrated: bool) -> None:
    from eks.multicam_smoother import fit_eks_multicam

    calibration, out = tmp_path / "calibration.toml", tmp_path / "out"
    views = make_views(calibration)
    for view, tables in views.items():
        put(tables, tmp_path, f"rec_{view}")
    how = ("--calibration", calibration) if calibrated else ("--views", ",".join(views))
    arguments = (*models(tmp_path), "-o", out, *how, "--smooth-param", "2")
    code, said = raypose_smooth(*arguments)
    assert code == 0, said
    folder = tmp_path / "theirs"
    folder.mkdir()
    cameras = {"calibration": str(calibration)} if calibrated else {"camera_names": list(views)}
    frames, *_, points = fit_eks_multicam(
        write_views(views, folder),
        str(tmp_path / "eks"),
        bodypart_list=list(NAMES),
        smooth_param=2.0,
        quantile_keep_pca=95.0,
        **cameras,
    )
    for view, frame in zip(views, frames, strict=True):
        ours = written(out / "video_preds" / f"rec_{view}.csv", NAMES)
        np.testing.assert_allclose(ours, columns(frame, NAMES), atol=0.05)
    in_space = out / "points_3d" / "rec.csv"
    assert in_space.exists() == calibrated
    if calibrated:
        ours = pd.read_csv(in_space, header=[0, 1, 2], index_col=0).to_numpy()
        np.testing.assert_allclose(ours, points.to_numpy(), atol=0.05, rtol=1e-3)
    mode = json.loads((out / "smooth_params" / "rec.json").read_text())["mode"]
    assert mode == ("calibrated" if calibrated else "multicam")
    assert "Nothing to do" in raypose_smooth(*arguments)[1]


def test_a_pupil(tmp_path: Path) -> None:
    from eks.ibl_pupil_smoother import fit_eks_pupil

    files = put(pupil_members(), tmp_path, "eye")
    how = ("--eks-mode", "auto", "--s-frames", "0:50")
    code, said = raypose_smooth(*models(tmp_path), "-o", tmp_path / "out", *how)
    assert code == 0, said
    frame, *_ = fit_eks_pupil(
        [str(path) for path in files], str(tmp_path / "eks" / "o.csv"), s_frames=[(0, 50)]
    )
    theirs = frame.to_numpy().reshape(len(frame), 4, 9)[..., :2]
    ours = written(tmp_path / "out" / "video_preds" / "eye.csv", PUPIL_KEYPOINTS)
    # The library has the right edge under the bottom one's name, and the other way round.
    np.testing.assert_allclose(ours[:, [0, 2, 1, 3]], theirs, atol=0.05)


def unreadable(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-10])


def shorter(path: Path) -> None:
    write_csv(read_csv(path).slice(0, 250), path)


def lacks_a_keypoint(path: Path) -> None:
    write_csv(read_csv(path).select(NAMES[:2]), path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (unreadable, "its last row is cut short"),
        (shorter, "has 250 frames, and the others have 300"),
        (lacks_a_keypoint, "lacks tail_base"),
    ],
)
def test_a_member_that_does_not_fit(tmp_path: Path, spoil: Any, said: str) -> None:
    out = tmp_path / "out"
    put(make_members(), tmp_path, "good")
    bad = put(make_members(seed=1), tmp_path, "bad")
    spoil(bad[1])
    arguments = (*models(tmp_path), "-o", out)
    code, output = raypose_smooth(*arguments)
    assert code == 1 and said in output
    assert [p.name for p in (out / "video_preds").glob("*.csv")] == ["good.csv"]

    code, output = raypose_smooth(*arguments, "--min-members", "2")
    assert code == 0 and "EKS went on without m1" in output and said in output
    record = json.loads((out / "video_preds" / ".raypose" / "bad.csv.json").read_text())
    assert record["facts"]["members"] == ["m0", "m2"]
    assert said in record["facts"]["left_out"]["m1"]
    raypose_smooth(bad[0], bad[2], "-o", tmp_path / "two")
    np.testing.assert_array_equal(
        read_csv(out / "video_preds" / "bad.csv").values,
        read_csv(tmp_path / "two" / "video_preds" / "bad.csv").values,
    )
    # It will never fit: the result stands.
    code, output = raypose_smooth(*arguments, "--min-members", "2")
    assert code == 0 and "Nothing to do" in output
    code, output = raypose_smooth(*arguments, "--min-members", "3")
    assert code == 1 and "2 of 3 members" in output


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_many_sessions(tmp_path: Path) -> None:
    for i in range(12):
        put(make_members(n_frames=60 + i, seed=i), tmp_path, f"rec{i}")
    (tmp_path / "m1" / "video_preds" / "rec5.csv").write_text("")
    config = raypose.SmoothConfig(
        tables=[str(path) for path in models(tmp_path)], eks_dir=tmp_path / "out"
    )
    result = raypose.smooth(config)
    tables = {
        path.stem: read_csv(path).n_frames for path in tmp_path.glob("out/video_preds/*.csv")
    }
    assert tables == {f"rec{i}": 60 + i for i in range(12) if i != 5}
    assert [f.path for f in result.failures] == [str(tmp_path / "m1" / "video_preds" / "rec5.csv")]
    assert len(result.made["smooth"]) == 2 * 11
    (tmp_path / "m1" / "video_preds" / "rec5.csv").unlink()
    again = raypose.smooth(config)
    assert again.plan.done and "has 2 of 3 members" in str(again.failures[0])


def test_smoothed_tables_in_a_store(store: Store, tmp_path: Path) -> None:
    put(make_members(n_frames=80), tmp_path, "a")
    given = (*models(tmp_path), "-o", f"s3://{BUCKET}/eks", "--run-dir", tmp_path / "run")
    code, said = raypose_smooth(*given)
    assert code == 0, said
    raypose_smooth(*models(tmp_path), "-o", tmp_path / "out")
    for name in ("video_preds/a.csv", "smooth_params/a.json"):
        assert store.get(f"eks/{name}") == (tmp_path / "out" / name).read_bytes()
    assert (tmp_path / "run" / "run.json").is_file()
    code, said = raypose_smooth(*given)
    assert code == 0 and "Nothing to do" in said


@pytest.mark.parametrize("kind", ["csv", "h5"])
def test_sleaps_tables_that_end_early(tmp_path: Path, kind: str) -> None:
    members = make_members()
    n_frames = members[0].n_frames
    ends = (n_frames, n_frames - 4, n_frames - 1)
    for i, (member, end) in enumerate(zip(members, ends, strict=True)):
        path = tmp_path / f"model{i}.000_a.analysis.{kind}"
        write = write_sleap_h5 if kind == "h5" else write_sleap_csv
        write(member.slice(0, end), path)
    code, said = raypose_smooth(tmp_path, "-o", tmp_path / "out")
    assert code == 0, said
    assert "4 more, without keypoints" in said
    assert "1 more, without keypoints" in said
    table = read_csv(tmp_path / "out" / "video_preds" / "a.csv")
    assert table.n_frames == n_frames
    # The last frame is known from the first member alone.
    expected = members[0].select(table.keypoint_names).xy[-1]
    np.testing.assert_allclose(table.values[-1, :, 3:5], expected, rtol=1e-5)
    params = json.loads((tmp_path / "out" / "smooth_params" / "a.json").read_text())
    assert len(params["notes"]) == 2


def test_tables_of_one_video_under_any_names(tmp_path: Path) -> None:
    members = make_members()
    for name, member in zip("abc", members, strict=True):
        write_csv(member, tmp_path / f"{name}.csv")
    tables = [tmp_path / f"{name}.csv" for name in "abc"]
    code, said = raypose_smooth(*tables, "-o", tmp_path / "out")
    assert code == 2
    assert "add --members" in said
    code, said = raypose_smooth(*tables, "--members", "-o", tmp_path / "out")
    assert code == 0, said
    put(members, tmp_path / "models", "v")
    code, said = raypose_smooth(*models(tmp_path / "models"), "-o", tmp_path / "usual")
    assert code == 0, said
    together = read_csv(tmp_path / "out" / "video_preds" / f"{tmp_path.name}.csv")
    usual = read_csv(tmp_path / "usual" / "video_preds" / "v.csv")
    np.testing.assert_array_equal(together.values, usual.values)


def test_tables_of_spreadsheets_give_the_same(tmp_path: Path) -> None:
    members = make_members()
    put(members, tmp_path / "plain", "v")
    for i, path in enumerate(put(members, tmp_path / "excel", "v")):
        frame = pd.read_csv(path, header=[0, 1, 2], index_col=0)
        text = frame.to_csv(sep=";", decimal=",", lineterminator="\r\n")
        path.write_bytes(text.removesuffix("\r\n").encode("utf-16" if i else "utf-8-sig"))
    for name in ("plain", "excel"):
        code, said = raypose_smooth(*models(tmp_path / name), "-o", tmp_path / f"out-{name}")
        assert code == 0, said
    # In UTF-16 as well; of each table at once, and again at the end.
    assert said.count("its last row has no line end") == 2 * 3
    plain, excel = (
        read_csv(tmp_path / f"out-{name}" / "video_preds" / "v.csv") for name in ("plain", "excel")
    )
    np.testing.assert_allclose(excel.values, plain.values, rtol=1e-5)
