"""With how many threads do the tests of the training calculate? As many as the program: it says so before numpy loads."""

import cesai.demo.train  # noqa: F401  for what its import sets
