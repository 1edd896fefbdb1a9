"""Several processes: what happens in the others when one of them is gone."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch.distributed import DistError

from sagan.errors import SaganError


@contextmanager
def together() -> Iterator[None]:
    """End in one line when another process has gone away, which is what the network reports.

    Raises:
        SaganError: another process has gone away.
    """
    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, DistError) or "gloo" in str(error)):
            raise
        raise SaganError(
            "another process of this training has ended, and so does this one: the same command "
            "goes on from the newest checkpoint"
        ) from None
