"""Pages in HTML of runs and studies: one file each, without network. `run_page.py`, `study_page.py`, `live.py`."""
