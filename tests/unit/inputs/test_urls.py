"""Videos and models by URL: found, named, looked into, opened."""

from __future__ import annotations

from pathlib import Path

import pytest

from raypose.errors import ModelError, StorageError, UsageError
from raypose.inputs.models import open_model, shortest_names
from raypose.inputs.names import name_videos
from raypose.inputs.probe import Unusable
from raypose.inputs.videos import OWN, find_videos, probe_videos
from raypose.specs import VideoSpec
from tests.projects import fake_model
from tests.stores import Fault, Store
from tests.videos import make_video


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYPOSE_CACHE_DIR", str(tmp_path / "cache"))


def found(*arguments: str, recursive: bool = False) -> list[str]:
    return [str(video.path) for video in find_videos(arguments, recursive=recursive).videos]


class TestFinding:
    @pytest.fixture(autouse=True)
    def _videos(self, store: Store) -> None:
        for key in ("v/b.MP4", "v/a.mp4", "v/.hidden.mp4", "v/notes.txt", "v/deep/a.mp4"):
            store.put(key, b"x")

    def test_a_folder(self) -> None:
        expected = ["s3://lab/v/a.mp4", "s3://lab/v/b.MP4"]
        assert found("s3://lab/v") == found("s3://lab/v/") == expected
        assert found("s3://lab/v", recursive=True) == [*expected, "s3://lab/v/deep/a.mp4"]

    def test_an_object(self) -> None:
        assert found("s3://lab/v/a.mp4", "s3://lab/v/a.mp4") == ["s3://lab/v/a.mp4"]
        assert found("s3://lab/v/notes.txt") == ["s3://lab/v/notes.txt"], "whatever its suffix"

    def test_a_pattern(self, store: Store) -> None:
        assert found("s3://lab/*/*.mp4") == ["s3://lab/v/a.mp4"]
        assert found("s3://lab/v/**/a.mp4")[-1] == "s3://lab/v/deep/a.mp4"
        store.put("v/[1].mp4", b"x")
        assert found("s3://lab/v/[1].mp4") == ["s3://lab/v/[1].mp4"], "a name, not a pattern"

    @pytest.mark.parametrize("url", ["s3://lab/none", "s3://lab/v/none.mp4", "s3://lab/n*"])
    def test_nothing(self, url: str) -> None:
        with pytest.raises(UsageError, match="no video there"):
            find_videos([url])

    def test_no_bucket(self) -> None:
        with pytest.raises((StorageError, UsageError), match="nobody"):
            find_videos(["s3://nobody/v"])

    def test_a_file_url(self, tmp_path: Path) -> None:
        (tmp_path / "a b.mp4").write_bytes(b"x")
        assert found(f"file://{tmp_path}/a%20b.mp4") == [f"{tmp_path}/a b.mp4"]
        assert found(f"file://{tmp_path}") == [f"{tmp_path}/a b.mp4"]

    def test_what_raypose_made_is_left_out_of_one_listing(self, store: Store) -> None:
        for n in range(20):
            store.put(f"v/deep/out/{n}_labeled.mp4", b"x")
            store.put(f"v/deep/out/.raypose/{n}_labeled.mp4.json", b"{}")
        store.requests.clear()
        videos = find_videos(["s3://lab/v"], recursive=True)
        assert [video.path.name for video in videos.videos] == ["a.mp4", "b.MP4", "a.mp4"]
        assert {item.reason for item in videos.excluded} == {OWN}
        assert len(videos.excluded) == 20
        assert len(store.requests) <= 2, store.requests
        store.requests.clear()
        videos = find_videos(["s3://lab/v/*/*/*.mp4", "s3://lab/v/*"])
        assert len(videos.excluded) == 20
        # One for each folder beside those of the patterns.
        hidden = [request for request in store.requests if ".raypose" in request]
        assert len(hidden) <= 4, store.requests

    def test_a_text_with_the_suffix_of_a_transport_stream(self, store: Store) -> None:
        store.put("w/index.ts", b"export {};")
        store.put("w/empty.ts", b"")
        store.put("w/cam.ts", b"G\0\1\2" * 2000)
        videos = find_videos(["s3://lab/w"])
        assert [video.path.name for video in videos.videos] == ["cam.ts", "empty.ts"]
        assert [item.path.name for item in videos.excluded] == ["index.ts"]

    def test_names_where_stems_collide(self, tmp_path: Path) -> None:
        videos = find_videos(["s3://lab/v"], recursive=True).videos
        assert name_videos(videos) == ["a", "b", "deep/a"]
        (tmp_path / "b.mp4").write_bytes(b"x")
        mixed = name_videos(find_videos(["s3://lab/v/b.MP4", str(tmp_path)]).videos)
        assert len(set(mixed)) == 2 and not any(key.startswith("/") for key in mixed)


class TestProbing:
    def probe(self, *urls: str) -> list[VideoSpec | Unusable]:
        videos = find_videos(urls).videos
        return probe_videos(videos, name_videos(videos))

    def test_as_a_file_and_once(self, store: Store, tmp_path: Path) -> None:
        local = make_video(tmp_path / "cam.mp4", n_frames=12)
        url = store.put("v/cam.mp4", local)
        (here,) = self.probe(str(local))
        (there,) = self.probe(url)
        assert isinstance(here, VideoSpec) and isinstance(there, VideoSpec)
        assert there.path == url
        assert there.fingerprint == here.fingerprint
        assert there.n_frames == 12
        store.requests.clear()
        (again,) = self.probe(url)
        assert again == there
        assert not [request for request in store.requests if request.startswith("GET /lab/v/cam")]
        store.put("v/cam.mp4", make_video(tmp_path / "new.mp4", n_frames=15))
        (changed,) = self.probe(url)
        assert isinstance(changed, VideoSpec) and changed.n_frames == 15

    def test_what_can_not_be_used_is_named_by_its_url(self, store: Store, tmp_path: Path) -> None:
        broken = store.put("v/broken.mp4", b"no video" * 100)
        denied = store.put("v/denied.mp4", make_video(tmp_path / "cam.mp4", n_frames=5))
        empty = store.put("v/empty.mp4", b"")
        store.faults.append(Fault("denied", r"(GET|HEAD) /lab/v/denied", times=99))
        for video in self.probe("s3://lab/v"):
            assert isinstance(video, Unusable)
            assert video.error.path in (broken, denied, empty)
            assert "scratch" not in str(video.error) and video.error.hint


class TestModels:
    def test_as_a_directory(self, store: Store, tmp_path: Path) -> None:
        model = fake_model(tmp_path / "2026-01-01" / "10-00-00")
        url = store.put_folder("models/2026-01-01/10-00-00", model)
        here, there = open_model(model), open_model(url)
        assert there.fingerprint == here.fingerprint
        assert there.name == here.name == "2026-01-01_10-00-00"
        assert there.directory == url
        assert there.checkpoint.startswith(f"{url}/tb_logs/test_model/version_0/")
        assert there.config == here.config

    def test_a_known_checkpoint_is_not_read_again(self, store: Store, tmp_path: Path) -> None:
        url = store.put_folder("m", fake_model(tmp_path / "m"))
        first = open_model(url)
        store.requests.clear()
        assert open_model(url) == first
        assert not [r for r in store.requests if r.startswith("GET") and ".ckpt" in r]

    def test_names_tell_models_of_two_buckets_apart(self) -> None:
        assert shortest_names(["s3://one/m", "s3://two/m"]) == ["one_m", "two_m"]

    def test_none_there(self, store: Store) -> None:
        with pytest.raises(UsageError, match="s3://lab/none: there is no such model directory"):
            open_model("s3://lab/none")

    def test_without_a_checkpoint(self, store: Store, tmp_path: Path) -> None:
        model = fake_model(tmp_path / "m")
        store.put("m/config.yaml", model / "config.yaml")
        with pytest.raises(ModelError, match="s3://lab/m: this model directory has no checkpoint"):
            open_model("s3://lab/m")

    def test_denied_access(self, store: Store) -> None:
        store.faults.append(Fault("denied", "", times=99))
        with pytest.raises(StorageError, match="s3://lab/m: access is denied"):
            open_model("s3://lab/m")
