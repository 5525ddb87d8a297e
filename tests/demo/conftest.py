"""With how many threads does the training calculate in tests? With the program's number, said before numpy loads."""

import cesai.demo.train  # noqa: F401  for what its import sets
