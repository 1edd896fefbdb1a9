"""Measurements on this machine, in one run: `python -m benchmarks`, `python -m benchmarks.data`.

naive.py holds the networks and the step as popular code writes them; each other file is a subject.
All of them measure processors: a GPU is hidden before torch looks for one.
"""

import os

os.environ["CUDA_VISIBLE_DEVICES"] = ""
