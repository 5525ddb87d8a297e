"""Does the ledger agree with an independent model, whatever happens in whatever order?"""

from __future__ import annotations

from tests.allocations import machine


def test_the_ledger_says_what_a_simple_model_says(engine):
    machine.run(engine, examples=12, steps=40)
