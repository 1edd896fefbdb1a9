"""Trained networks as files for other runtimes; one file here for each format."""
