"""What do the demonstration's jobs do? They train a small language model for real: `python -m cesai.demo.train`."""

import os

# Read when numpy is first imported: several ranks on one machine, each with a thread per core, slow each other down.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
