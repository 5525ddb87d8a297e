"""Are amounts exact?"""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cesai.kernel.amounts import GpuMilliseconds


def test_an_hour_on_four_gpus_is_four_gpu_hours():
    assert GpuMilliseconds.of(gpus=4, seconds=3600) == GpuMilliseconds.of_hours(4)


def test_hours_that_are_no_whole_millisecond_are_an_error():
    with pytest.raises(ValueError, match="no whole number"):
        GpuMilliseconds.of_hours(Decimal("0.00000001"))


@given(st.integers(-(10**12), 10**12))
def test_hundredths_of_an_hour_survive_the_way_there_and_back(hundredths):
    hours = Decimal(hundredths) / 100
    assert GpuMilliseconds.of_hours(hours).hours == hours


def test_an_amount_reads_in_hours():
    assert str(GpuMilliseconds.of_hours(1234)) == "1,234.00 GPU-hours"
