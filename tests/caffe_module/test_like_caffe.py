"""Whole programs in real pycaffe and in ours, each in its own process: both compute the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from helpers.caffe_programs import Two, program
from helpers.drawn_nets import nets
from helpers.drawn_programs import Writer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

pytestmark = [pytest.mark.pycaffe, pytest.mark.process]


@pytest.fixture(scope="module")
def both(caffe) -> Iterator[Two]:
    both = Two()
    yield both
    both.close()


@pytest.mark.slow
@settings(
    deadline=None,
    derandomize=True,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.data())
def test_drawn_programs(both, data):
    net = data.draw(nets())
    made = program(f"net = caffe.Net('net.prototxt', caffe.{net.phase})", net=net.text)
    facts = both.real.run(made)
    assume(facts)
    assume(both.check(Writer(data.draw, net, facts[0]).write()))
