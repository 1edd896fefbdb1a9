"""Float32 means float32 where it is asked for, and the caller's settings survive it."""

import pytest
import torch

from sagan.precision import exact_float32


def test_exact_float32_is_undone_and_leaves_the_rest_of_cudnn_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.deterministic
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32
