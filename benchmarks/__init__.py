"""Measurements on this machine, in one run: `python -m benchmarks`, `python -m benchmarks.data`.

`naive.py` has the networks and the step as popular code writes them; `workload.py` has the training
that is timed. All benchmarks but those in `gpu` measure the CPU: GPUs are hidden before torch looks
for them.
"""

import os

HIDES_GPUS = "CUDA_VISIBLE_DEVICES"
visible_gpus = os.environ.get(HIDES_GPUS)
os.environ[HIDES_GPUS] = ""
