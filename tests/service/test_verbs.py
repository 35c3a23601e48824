"""The verbs in process."""

from __future__ import annotations

import pytest

from aegis.control import Control, Reloaded, VerbError
from aegis.service.verbs import Verbs
from tests.service.observed import Watched

RELOADED = Reloaded(applied=("x",), needs_restart=())


@pytest.fixture
def watched():
    return Watched()


@pytest.fixture
def verbs(watched):
    verbs: Control = Verbs(watched.parts.backends, watched.observer.board, watched.parts.events, lambda: RELOADED)
    return verbs


def test_drain_takes_a_backend_out_and_resume_brings_it_back(watched, verbs):
    watched.state("a").in_flight = 2
    assert verbs.drain("a") == "a gets no new requests, 2 in flight"
    assert not watched.view("a").eligible
    assert verbs.resume("a") == "a gets requests again"
    assert watched.view("a").eligible
    assert [(event.kind, event.fields["backend"]) for event in verbs.events()] == [("drain", "a"), ("resume", "a")]


def test_a_verb_that_changes_nothing_says_so_and_is_no_event(verbs):
    verbs.drain("a")
    assert verbs.drain("a") == "a is drained already, 0 in flight"
    assert verbs.resume("b") == "b is not drained"
    assert len(verbs.events()) == 1


@pytest.mark.parametrize("verb", ["drain", "resume"])
def test_an_unknown_name_is_refused_with_the_names_there_are(verbs, verb):
    with pytest.raises(VerbError, match="no backend is called c; there are: a, b, idle"):
        getattr(verbs, verb)("c")


def test_resume_cannot_help_a_backend_of_weight_0(verbs):
    with pytest.raises(VerbError, match="weight 0"):
        verbs.resume("idle")


def test_events_after_a_number(verbs):
    verbs.drain("a")
    verbs.drain("b")
    assert [event.fields["backend"] for event in verbs.events(after=1)] == ["b"]


def test_the_snapshot_is_the_one_published_last(watched, verbs):
    before = verbs.snapshot()
    assert watched.second() is verbs.snapshot() is not before


def test_reload_is_done_by_whoever_can(verbs):
    assert verbs.reload() is RELOADED
