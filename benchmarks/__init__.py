"""Measurements on this machine, in one run: `python -m benchmarks`, `python -m benchmarks.data`.

`naive.py` has the networks and the step as popular code writes them; `workload.py` has the training
that is timed. All benchmarks measure the CPU: GPUs are hidden before torch looks for them.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
