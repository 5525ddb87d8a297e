"""What do the demonstration's jobs do? They train a small language model for real: `python -m cesai.demo.train`."""
