"""The parts of scripts/import_parity.py: one file for each project, which builds its networks."""
