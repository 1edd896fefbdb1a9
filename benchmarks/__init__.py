"""Measurements that print what they measured, on this machine, in one run.

Each file is one subject, run as `python -m benchmarks.SUBJECT`.
"""
