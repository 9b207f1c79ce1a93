"""One thread a process: tests run side by side, and torch's bytes depend on the number of threads."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # tests/pictures.py, shared by several folders
