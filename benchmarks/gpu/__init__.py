"""What a GPU computes and how fast, in under ten minutes: `python -m benchmarks.gpu`."""
