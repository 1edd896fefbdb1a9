"""Which errors mean that memory ran out, and how long a message may be."""

import numpy as np
import pytest
import torch

from sagan.errors import MAX_MESSAGE, counted, is_out_of_memory, shorten

HUGE = 2**60  # bytes, more than any machine can address


def test_what_torchs_cpu_allocator_raises_is_recognized() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(HUGE, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_what_numpy_raises_is_recognized() -> None:
    with pytest.raises(MemoryError) as caught:
        np.empty(HUGE, dtype=np.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("mat1 shape"), ValueError("out of memory")])
def test_other_errors_are_not_taken_for_a_lack_of_memory(error: Exception) -> None:
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    ("num", "text"), [(0, "0 steps"), (1, "1 step"), (2, "2 steps"), (1200, "1,200 steps")]
)
def test_only_one_thing_is_counted_in_the_singular(num: int, text: str) -> None:
    assert counted(num, "step", "steps") == text


def test_a_long_message_keeps_its_beginning_and_its_end() -> None:
    message = "cannot read 'x" + "x" * 10**6 + "': make room"
    assert len(shorten(message)) == MAX_MESSAGE
    assert shorten(message).startswith("cannot read 'x")
    assert shorten(message).endswith("': make room")
    assert shorten("short") == "short"
