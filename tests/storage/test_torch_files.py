"""Files of torch.save are read without running code, and may not ask for any memory they like."""

import pickletools
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from sagan.errors import SaganError
from sagan.storage.torch_files import checked_state_dict, read_torch_file


def test_tensors_and_numbers_of_numpy_are_read_in_both_formats_of_torch(tmp_path: Path) -> None:
    content = {"weights": {"a": torch.arange(3)}, "best": np.float64(0.5), "step": 7}
    for zipped in (True, False):
        torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
        read = read_torch_file(tmp_path / "x.pth")
        assert checked_state_dict(read["weights"], "x")["a"].tolist() == [0, 1, 2]
        assert (read["best"], read["step"]) == (0.5, 7)


def test_a_file_that_unpacks_to_more_than_the_limit_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SAGAN_MEMORY_GIB", "0.001")
    with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data/0", bytes(2 * 2**20))
    with pytest.raises(SaganError, match="GiB of memory for its weights"):
        read_torch_file(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_small_file_that_makes_millions_of_objects_is_refused_before_it_makes_one(
    tmp_path: Path, zipped: bool
) -> None:
    torch.save({}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    lists = b"\x80\x02" + b"]" * 2_000_000 + b"."
    if zipped:
        with zipfile.ZipFile(tmp_path / "x.pth", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x/data.pkl", lists)
    else:
        with (tmp_path / "x.pth").open("r+b") as file:
            for _ in range(3):  # magic number, protocol, system
                list(pickletools.genops(file))
            file.write(lists)
    started = time.perf_counter()
    with pytest.raises(SaganError, match="its pickle has more than 1,000,000 operations"):
        read_torch_file(tmp_path / "x.pth")
    assert time.perf_counter() - started < 30


def test_a_small_file_of_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**13)}, tmp_path / "x.pth")
    content = read_torch_file(tmp_path / "x.pth")
    with pytest.raises(SaganError, match="GiB of memory for its weights"):
        checked_state_dict(content, "x.pth")
