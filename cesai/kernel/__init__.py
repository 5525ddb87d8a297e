"""Which words does every room share? Amounts, ids, states, errors, periods, the clock. Stdlib only."""
