"""The data of `rehearsal.sh`: makes a bucket with models and videos, and checks the outputs.

    python cluster/rehearsal_data.py make URL N_VIDEOS      two small models, and videos
    python cluster/rehearsal_data.py check URL N_VIDEOS     check all outputs

The models are those of the tests: networks of Lightning Pose with random weights.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # for `tests`

N_FRAMES = 300


def make(url: str, n_videos: int) -> None:
    import s3fs

    from tests.models import make_model
    from tests.videos import make_video

    with tempfile.TemporaryDirectory(prefix="raypose-rehearsal-") as name:
        folder = Path(name)
        for seed in range(2):
            make_model(folder / "models" / f"member-{seed}", seed=seed)
        (folder / "videos").mkdir()
        for i in range(n_videos):
            make_video(folder / "videos" / f"video-{i}.mp4", n_frames=N_FRAMES, gop=25)
        store = s3fs.S3FileSystem()
        store.mkdir(url.partition("://")[2])
        for part in ("models", "videos"):
            store.put(str(folder / part), f"{url}/{part}", recursive=True)
    print(f"{url}: 2 models and {n_videos} videos of {N_FRAMES} frames")


def check(url: str, n_videos: int) -> None:
    import pandas as pd
    import s3fs

    store = s3fs.S3FileSystem()
    for owner in ("member-0", "member-1", "eks"):
        for i in range(n_videos):
            path = f"{url}/out/{owner}/video_preds/video-{i}.csv"
            with store.open(path) as file:
                table = pd.read_csv(file, header=[0, 1, 2], index_col=0)
            if len(table) != N_FRAMES or table.isna().to_numpy().any():
                sys.exit(f"{path} is not complete: {len(table)} rows")
    print(f"{url}/out: {3 * n_videos} tables of {N_FRAMES} rows each")


if __name__ == "__main__":
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
