"""Weights, as a client sees them."""

from __future__ import annotations

from collections import Counter

import pytest

from aegis.pool.policies import POLICIES
from tests.support.aegis_process import AegisProcess, config_for
from tests.support.raw_client import RawClient
from tests.support.scripted_backend import ScriptedBackend


@pytest.fixture(scope="module")
def pool():
    """Backends of weight 1, 1, 2 and a drained one."""
    with ScriptedBackend() as a, ScriptedBackend() as b, ScriptedBackend() as c, ScriptedBackend() as drained:
        weights = [(a, 1), (b, 1), (c, 2), (drained, 0)]
        config = config_for([{"url": backend.url, "weight": weight} for backend, weight in weights])
        with AegisProcess(config) as aegis:
            yield aegis, [backend for backend, _ in weights]


def picks(pool, count):
    """Which backend got each of `count` requests, by its place."""
    aegis, backends = pool
    order = []
    with RawClient(aegis.address) as client:
        for _ in range(count):
            before = [len(backend.requests) for backend in backends]
            assert client.get("/").status == 200
            after = [len(backend.requests) for backend in backends]
            order.append([new - old for old, new in zip(before, after, strict=True)].index(1))
    return order


def test_16_requests_over_weights_1_1_2_fall_4_4_8(pool):
    assert Counter(picks(pool, 16)) == {0: 4, 1: 4, 2: 8}


def test_each_round_of_four_has_exactly_its_share(pool):
    order = picks(pool, 16)
    assert [Counter(order[start : start + 4]) for start in range(0, 16, 4)] == [{0: 1, 1: 1, 2: 2}] * 4


def test_smooth_rounds_do_not_pick_the_heavy_one_three_times_in_a_row(pool):
    order = picks(pool, 16)
    assert not any(order[at : at + 3] == [2, 2, 2] for at in range(14))


def test_backend_of_weight_0_is_drained(pool):
    picks(pool, 16)
    assert pool[1][3].requests == []


def test_ratio_holds_over_clients_that_come_and_go(pool):
    assert Counter(pick for _ in range(16) for pick in picks(pool, 1)) == {0: 4, 1: 4, 2: 8}


@pytest.mark.parametrize("policy", sorted(POLICIES))
def test_every_policy_finds_a_backend_for_every_request(policy):
    with (
        ScriptedBackend() as a,
        ScriptedBackend() as b,
        AegisProcess(config_for([a, b], balancing={"policy": policy})) as aegis,
        RawClient(aegis.address) as client,
    ):
        assert [client.get("/").status for _ in range(32)] == [200] * 32
        assert a.requests
        assert b.requests
