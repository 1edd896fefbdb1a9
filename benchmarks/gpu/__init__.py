"""What a GPU computes and how fast, in under ten minutes: `python -m benchmarks.gpu`."""

import os

from benchmarks import HIDES_GPUS, visible_gpus

del os.environ[HIDES_GPUS]
if visible_gpus is not None:
    os.environ[HIDES_GPUS] = visible_gpus
