import pytest

from tests.support.clock import ManualClock


@pytest.fixture
def clock():
    return ManualClock()
