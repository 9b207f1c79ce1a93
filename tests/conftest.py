"""One thread a process: tests run side by side, and torch's bytes depend on the number of threads."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
