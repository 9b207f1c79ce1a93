"""One thread a process: tests run side by side, and torch's bytes depend on the number of threads.

And Ctrl-C heard: a shell starts background jobs deaf to it, and so would be the processes tested.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
import signal
import sys
from pathlib import Path

import hypothesis

hypothesis.settings.register_profile("untimed", deadline=None)  # other work on the machine is no failure
hypothesis.settings.load_profile("untimed")
sys.path.insert(0, str(Path(__file__).parent))  # tests/pictures.py, shared by several folders
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
