"""Who may send a request now: the sentences of the specification on rate limiting, but for HTTP."""

from __future__ import annotations

import time

import pytest

from aegis.config.schema import RateLimit
from aegis.ratelimit.limiter import SLICE, Limiter, key_of

PEER = "192.0.2.7"
OTHERS = [f"198.51.100.{last}" for last in range(1, 255)]


# the key


@pytest.mark.parametrize(
    ("address", "prefix", "key"),
    [
        ("192.0.2.7", 64, "192.0.2.7"),
        ("::ffff:192.0.2.7", 64, "192.0.2.7"),
        ("::ffff:c000:207", 64, "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", 64, "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::", 64, "2001:db8:1:2::"),
        ("2001:db8:1:3::6", 64, "2001:db8:1:3::"),
        ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
        ("2001:db8:1:2:3:4:5:6", 128, "2001:db8:1:2:3:4:5:6"),
        ("fe80::1%eth0", 64, "fe80::"),
    ],
)
def test_the_key_is_the_ipv4_address_or_the_ipv6_network(address, prefix, key):
    assert key_of(address, prefix) == key


def test_what_is_no_address_has_no_key():
    with pytest.raises(ValueError, match="nonsense"):
        key_of("nonsense:", 64)


def test_keys_do_not_share_tokens(limiter_of, drain):
    limiter = limiter_of(burst=3)
    assert drain(limiter) == 3
    assert limiter.take(OTHERS[0]) == (True, 2, 1)


# tokens


def test_a_new_client_has_the_burst_and_then_the_rate(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=5)
    assert drain(limiter) == 5
    clock.advance(0.3)
    assert drain(limiter) == 3
    clock.advance(3600)
    assert drain(limiter) == 5


def test_each_verdict_says_the_whole_tokens_that_are_left(limiter_of):
    limiter = limiter_of(rate=10, burst=3)
    assert [limiter.take(PEER) for _ in range(4)] == [(True, 2, 1), (True, 1, 1), (True, 0, 1), (False, 0, 1)]


@pytest.mark.parametrize(
    ("rate", "waited", "seconds"),
    [
        (100, 0.0, 1),
        (1, 0.0, 1),
        (1, 0.5, 1),
        (0.5, 0.0, 2),
        (0.5, 0.5, 2),
        (0.5, 1.0, 1),
        (0.1, 0.0, 10),
        (0.1, 0.001, 10),
        (0.1, 9.0, 1),
        (0.3, 0.0, 4),
        (1 / 7, 0.0, 7),
    ],
)
@pytest.mark.parametrize("uptime", [0.0, 0.1, 1234.567, 6e7 + 1 / 3])
def test_retry_after_is_whole_seconds_until_a_token_is_there(limiter_of, drain, clock, rate, waited, seconds, uptime):
    clock.advance(uptime)
    limiter = limiter_of(rate=rate, burst=3)
    drain(limiter)
    clock.advance(waited)
    assert limiter.take(PEER) == (False, 0, seconds)
    clock.advance(seconds)
    assert limiter.take(PEER)[0]


def test_t_is_whole_seconds_until_r_grows_by_one(limiter_of, clock):
    limiter = limiter_of(rate=0.25, burst=10)
    assert limiter.take(PEER) == (True, 9, 4)
    clock.advance(2.5)
    assert limiter.take(PEER) == (True, 8, 2)  # 8.625 left: 1.5 s
    clock.advance(2)
    assert limiter.take(PEER)[1] == 8  # grown by one, less the one just taken


def test_a_refusal_costs_nothing(limiter_of, drain, clock):
    limiter = limiter_of(rate=1, burst=1)
    drain(limiter)
    for _ in range(99):
        clock.advance(0.01)
        assert not limiter.take(PEER)[0]
    clock.advance(0.01)
    assert limiter.take(PEER)[0]


def test_decisions_are_counted(limiter_of, drain):
    limiter = limiter_of(burst=5)
    drain(limiter)
    drain(limiter)
    assert (limiter.allowed, limiter.limited, limiter.shadow_limited, limiter.tracked) == (5, 2, 0, 1)


# the rate


def test_tokens_accrue_at_the_old_rate_until_the_next_request_and_then_at_the_new_one(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=100)
    drain(limiter)
    limiter.rate = 1.0
    clock.advance(2)
    assert drain(limiter) == 20
    clock.advance(2)
    assert drain(limiter) == 2


def test_rates_that_came_and_went_between_two_requests_leave_no_trace(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=100)
    drain(limiter)
    for rate in (500.0, 0.1, 500.0):
        limiter.rate = rate
        clock.advance(1)
    assert drain(limiter) == 30


def test_a_refused_request_is_a_request_too(limiter_of, drain, clock):
    limiter = limiter_of(rate=1, burst=10)
    drain(limiter)
    clock.advance(0.5)
    limiter.rate = 0.1
    assert limiter.take(PEER) == (False, 0, 5)  # half a token at the old rate, half at the new one
    clock.advance(5)
    assert limiter.take(PEER)[0]


@pytest.mark.parametrize(("old", "new"), [(500, 10), (0.4, 0.01), (1e6, 1e-6), (1, 1000)])
def test_who_waits_as_told_is_not_refused_though_the_rate_changes_meanwhile(limiter_of, drain, clock, old, new):
    limiter = limiter_of(rate=old, burst=2)
    drain(limiter)
    _, _, seconds = limiter.take(PEER)
    limiter.rate = new
    clock.advance(seconds)
    assert limiter.take(PEER)[0]


def test_new_clients_begin_with_the_rate_of_now(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=5)
    limiter.rate = 2.0
    drain(limiter)
    clock.advance(1)
    assert drain(limiter) == 2


# shadow


def test_shadow_mode_counts_and_never_refuses(limiter_of, events):
    limiter = limiter_of(burst=3, mode="shadow")
    assert [limiter.take(PEER)[0] for _ in range(5)] == [True] * 5
    assert (limiter.allowed, limiter.limited, limiter.shadow_limited) == (3, 0, 2)
    assert events == []


# the purge


def test_the_purge_forgets_full_buckets_only(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=5)
    limiter.take("192.0.2.1")
    drain(limiter, "192.0.2.5")
    clock.advance(0.1)
    limiter.purge()
    assert limiter.tracked == 1
    clock.advance(0.5)
    limiter.purge()
    assert limiter.tracked == 0


def test_a_purge_never_refills(limiter_of, drain, clock):
    limiter = limiter_of(rate=1, burst=10)
    drain(limiter)
    for _ in range(9):
        clock.advance(0.5)
        limiter.purge()
    assert drain(limiter) == 4


def test_a_bucket_that_fills_by_an_old_rate_is_purged_by_that_rate(limiter_of, drain, clock):
    limiter = limiter_of(rate=1, burst=10)
    drain(limiter)
    limiter.rate = 1000.0
    clock.advance(9)
    limiter.purge()
    assert limiter.tracked == 1
    assert drain(limiter) >= 9


def test_a_bucket_full_by_a_burst_since_raised_is_not_forgotten_or_it_would_gain_the_difference(
    limiter_of, drain, clock
):
    limiter = limiter_of(rate=10, burst=5)
    limiter.take(PEER)
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=50))
    clock.advance(1)
    limiter.purge()
    assert drain(limiter) == 5
    clock.advance(5)
    limiter.purge()
    assert limiter.tracked == 0


def test_a_purge_lets_others_run_and_bears_what_they_do(limiter_of, clock):
    limiter = limiter_of(rate=10, burst=5, max_entries=3 * SLICE)
    for number in range(3 * SLICE):
        limiter.take(f"10.0.{number >> 8}.{number & 255}")
    pauses = []

    def pause():
        pauses.append(limiter.tracked)
        limiter.take(PEER)

    clock.advance(1)
    limiter.purge(pause)
    assert pauses == [2 * SLICE, SLICE + 1]
    assert limiter.tracked == 1


# the cap


def test_at_most_max_entries_are_tracked_the_oldest_out_first_and_counted(limiter_of):
    limiter = limiter_of(max_entries=3)
    for key in OTHERS[:5]:
        limiter.take(key)
    assert (limiter.tracked, limiter.evictions) == (3, 2)
    limiter.take(OTHERS[2])
    assert limiter.evictions == 2  # still there
    limiter.take(OTHERS[1])
    assert limiter.evictions == 3  # it was not


def test_the_oldest_is_who_came_first_in_any_size_and_after_purges(limiter_of, clock):
    limiter = limiter_of(rate=1, burst=2, max_entries=1000)
    keys = [f"10.0.{number >> 8}.{number & 255}" for number in range(5000)]
    for key in keys[:1000]:
        limiter.take(key)
    for key in keys[1000:1100]:
        limiter.take(key)
    clock.advance(2)
    for key in keys[200:1100]:
        limiter.take(key)  # no longer full; the hundred before them are
    limiter.purge()
    assert limiter.tracked == 900
    for key in keys[1100:1200]:
        limiter.take(key)
    assert limiter.evictions == 100
    for number, key in enumerate(keys[1200:2000]):
        limiter.take(key)
        assert limiter.evictions == 101 + number
        assert keys[200 + number] not in limiter._buckets
        assert keys[201 + number] in limiter._buckets


def test_who_was_about_to_go_is_the_youngest_when_it_was_forgotten_and_came_back(limiter_of, drain, clock):
    limiter = limiter_of(rate=1, burst=2, max_entries=512)  # three at a time are looked out
    keys = [f"10.0.{number >> 8}.{number & 255}" for number in range(514)]
    for key in keys[:512]:
        drain(limiter, key)
    limiter._buckets[keys[1]].ready -= 2  # full
    limiter.take(keys[512])
    limiter.purge()
    limiter.take(keys[1])
    limiter.take(keys[513])
    assert limiter.evictions == 2
    assert keys[1] in limiter._buckets
    assert keys[2] not in limiter._buckets


def test_while_evictions_go_on_new_keys_start_with_one_token(limiter_of, drain):
    limiter = limiter_of(burst=5, max_entries=2)
    assert drain(limiter, OTHERS[0]) == 5
    assert drain(limiter, OTHERS[1]) == 5
    assert not limiter.evicting
    assert drain(limiter, OTHERS[2]) == 1  # the one that pushes out is under it too
    assert limiter.evicting
    assert drain(limiter, OTHERS[0]) == 1  # so whoever comes round again gains nothing


def test_from_a_purge_without_evictions_before_it_new_keys_have_the_burst_again(limiter_of, drain, clock):
    limiter = limiter_of(burst=5, max_entries=2)
    for key in OTHERS[:3]:
        limiter.take(key)
    clock.advance(60)
    limiter.purge()
    assert not limiter.evicting
    assert drain(limiter, OTHERS[3]) == 5


def test_a_client_that_started_with_one_token_earns_its_burst(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=5, max_entries=1)
    drain(limiter, OTHERS[0])
    drain(limiter)
    clock.advance(10)
    assert drain(limiter) == 5


def test_a_full_table_makes_no_new_client_slow(limiter_of):
    limiter = limiter_of(rate=1, burst=2, max_entries=65_536)
    keys = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(3 * 65_536)]
    for key in keys[:65_536]:
        limiter.take(key)
    started = time.process_time()
    for key in keys[65_536:]:
        limiter.take(key)
    assert limiter.evictions == 2 * 65_536
    # 1.5 µs each; 30 and more when the oldest is looked for among the holes each time.
    assert (time.process_time() - started) / (2 * 65_536) < 15e-6


# reload


def test_buckets_and_a_tuned_rate_survive_a_reload(limiter_of, drain, clock):
    limiter = limiter_of(rate=10, burst=5)
    limiter.rate = 2.0
    drain(limiter)
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=5, max_entries=7))
    assert limiter.rate == 2
    assert not limiter.take(PEER)[0]
    clock.advance(1)
    assert drain(limiter) == 2


def test_a_changed_requests_per_second_resets_the_rate_to_it(limiter_of):
    limiter = limiter_of(rate=10)
    limiter.rate = 2.0
    limiter.reconfigure(RateLimit(requests_per_second=20, burst=5))
    assert limiter.rate == 20


def test_a_smaller_burst_holds_for_those_who_have_more(limiter_of, drain):
    limiter = limiter_of(rate=10, burst=50)
    limiter.take(PEER)
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=5))
    assert drain(limiter) == 5


def test_a_lower_cap_pushes_the_oldest_out(limiter_of):
    limiter = limiter_of(max_entries=10)
    for key in OTHERS[:10]:
        limiter.take(key)
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=5, max_entries=4))
    assert (limiter.tracked, limiter.evictions) == (4, 6)
    limiter.take(OTHERS[6])
    assert limiter.evictions == 6


def test_the_mode_is_live(limiter_of, drain):
    limiter = limiter_of(mode="shadow", burst=2)
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=2))
    assert drain(limiter) == 2
    limiter.reconfigure(RateLimit(requests_per_second=10, burst=2, mode="shadow"))
    assert limiter.take(PEER)[0]


# events


def test_one_event_when_a_client_starts_being_limited_and_one_with_the_count_when_it_stops(
    limiter_of, drain, clock, events
):
    limiter = limiter_of(burst=2)
    drain(limiter)
    drain(limiter)
    drain(limiter)
    assert events == [("client_limited", "192.0.x.x", 1)]
    clock.advance(1)
    limiter.take(PEER)
    limiter.take(PEER)
    assert events[1:] == [("client_relieved", "192.0.x.x", 3)]
    drain(limiter)
    assert events[2:] == [("client_limited", "192.0.x.x", 1)]


def test_a_client_at_twice_its_rate_is_one_event_not_one_with_every_other_request(limiter_of, clock, events):
    limiter = limiter_of(rate=100, burst=10)
    for _ in range(2000):
        clock.advance(0.005)
        limiter.take(PEER)
    assert [kind for kind, *_ in events] == ["client_limited"]
    clock.advance(1)
    limiter.take(PEER)
    assert events[1:] == [("client_relieved", "192.0.x.x", limiter.limited)]


def test_a_purge_finds_who_went_quiet(limiter_of, drain, clock, events):
    limiter = limiter_of(rate=0.1, burst=2)
    drain(limiter)
    limiter.purge()
    assert len(events) == 1
    clock.advance(1)
    limiter.purge()
    assert events[1:] == [("client_relieved", "192.0.x.x", 1)]
    assert limiter.tracked == 1
    limiter.purge()
    assert len(events) == 2


def test_who_is_forgotten_is_limited_no_longer(limiter_of, drain, clock, events):
    limiter = limiter_of(rate=1000, burst=1)
    drain(limiter)
    clock.advance(0.5)
    limiter.purge()
    assert (limiter.tracked, events[1:]) == (0, [("client_relieved", "192.0.x.x", 1)])


def test_who_is_pushed_out_is_limited_no_longer(limiter_of, drain, events):
    limiter = limiter_of(burst=2, max_entries=1)
    drain(limiter)
    limiter.take(OTHERS[0])
    assert events[1:] == [("client_relieved", "192.0.x.x", 1)]


def test_ipv6_clients_are_masked_in_events(limiter_of, drain, events):
    limiter = limiter_of()
    drain(limiter, limiter.key("2001:db8:1:2:3:4:5:6"))
    assert events == [("client_limited", "2001:db8:1::", 1)]


def test_events_are_optional(clock):
    limiter = Limiter(RateLimit(burst=1), clock)
    assert [limiter.take(PEER)[0] for _ in range(2)] == [True, False]


def test_repr_says_the_state(limiter_of):
    limiter = limiter_of()
    limiter.take(PEER)
    assert repr(limiter) == "<Limiter enforce 10/s burst 5 1 tracked>"
