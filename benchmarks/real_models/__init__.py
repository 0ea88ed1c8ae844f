"""Real models measured on planted faults; see `run.py`."""
