"""One process agrees with itself; when one of several is gone, the others end in one line."""

import pytest
from torch.distributed import DistBackendError

from sagan.errors import SaganError
from sagan.processes import Consensus, together


def test_one_process_agrees_with_itself() -> None:
    assert Consensus(1).agree(0, 15, True) == [0, 15, 1]


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed by peer"),
        DistBackendError("NCCL error: remote process exited"),
    ],
)
def test_what_the_network_reports_is_one_line(error: RuntimeError) -> None:
    with (
        pytest.raises(SaganError, match=r"another process .* run it again"),
        together("run it again"),
    ):
        raise error


@pytest.mark.parametrize("error", [RuntimeError("shapes do not match"), SaganError("a line")])
def test_what_else_goes_wrong_is_told_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)), together("run it again"):
        raise error
