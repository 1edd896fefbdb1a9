"""A set in shards, from the commands that make and use it."""

from pathlib import Path

import pytest

from tests.command_line.conftest import Sagan


@pytest.mark.usefixtures("no_images")
def test_a_set_in_shards_is_packed_and_trained_on_from_a_url(
    sagan: Sagan, labeled_pictures: Path, tmp_path: Path
) -> None:
    packed = tmp_path / "packed"
    result = sagan("data", "pack", labeled_pictures, packed, "--size", 32, "--shard-mb", 0.01)
    assert result.status == 0
    assert "of 32 x 32 in " in result.out + result.err
    assert (packed / "images-00001.npy").is_file()
    url = f"file://{packed}"
    info = sagan("data", "info", url)
    assert info.status == 0
    assert "cat" in info.out
    settings = ["--preset", "smoke", "--steps", 1, "--set", "batch_size=4"]
    for name, window in (("whole", 0), ("streamed", 1)):
        run = tmp_path / name
        window_setting = ["--set", f"shuffle_window={window}"]
        result = sagan("train", "--data", url, "--out", run, *settings, *window_setting)
        assert result.status == 0, result.err
    result = sagan("train", "--data", url, "--out", run, *settings, "--set", "shuffle_window=2")
    assert result.status == 2
    assert "shuffle_window was 1 and is now 2" in result.err


def test_a_url_without_a_packed_set_is_refused_in_one_line(sagan: Sagan, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/nothing"
    for words in (("train", "--out", tmp_path / "run", "--data"), ("data", "info")):
        result = sagan(*words, url)
        assert result.status == 2
        assert result.err.count("\n") == 1
        assert f"cannot read a packed data set at '{url}'" in result.err


@pytest.mark.parametrize("text", ["inf", "nan", "1e300"])
def test_a_size_of_shards_that_no_disk_has_is_refused(
    sagan: Sagan, labeled_pictures: Path, tmp_path: Path, text: str
) -> None:
    result = sagan(
        "data", "pack", labeled_pictures, tmp_path / "out", "--size", 32, "--shard-mb", text
    )
    assert result.status == 2
    assert "--shard-mb" in result.err
    assert "Traceback" not in result.err
