"""Keys and what they make of the view; the one table they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aegis.tui.keys import KEYS, Verb, by_press, markdown, table
from aegis.tui.view import Act, Order, View, press, question_of, settle
from tests.support.snapshots import backend_view

BACKENDS = tuple(backend_view(name) for name in ("a", "b", "c"))
DRAINED = (backend_view("a", drained=True), *BACKENDS[1:])
ROOT = Path(__file__).parents[2]


START = View()


def after(*keys, view=START, backends=BACKENDS, **options):
    orders = []
    for key in keys:
        view, order = press(view, key, backends, table(**options))
        orders.append(order)
    return view, orders


def test_first_backend_is_selected_at_first_and_arrows_move_the_selection():
    assert after("x")[0].chosen == "a"
    assert after("KEY_DOWN")[0].chosen == "b"
    assert after("KEY_DOWN", "KEY_DOWN", "KEY_DOWN", "KEY_DOWN")[0].chosen == "c"
    assert after("KEY_DOWN", "KEY_UP", "KEY_UP")[0].chosen == "a"


def test_selection_survives_a_reload_by_its_name_and_falls_back_to_the_first():
    view = View(chosen="b")
    assert settle(view, (BACKENDS[2], BACKENDS[1])).chosen == "b"
    assert settle(view, (BACKENDS[2],)).chosen == "c"
    assert settle(view, ()).chosen is None


def test_drain_asks_first_and_y_confirms():
    view, orders = after("KEY_DOWN", "d")
    assert orders == [None, None]
    assert "Drain b?" in question_of(view.question)
    view, orders = after("y", view=view)
    assert orders == [Order(Act.DRAIN, "b")]
    assert view.question is None


@pytest.mark.parametrize("key", ["n", "q", "d", "KEY_ESCAPE", "KEY_ENTER", "p", " "])
def test_any_other_key_than_y_does_nothing_of_it(key):
    view, orders = after("d", key)
    assert orders == [None, None]
    assert view == View(chosen="a")


def test_drained_backend_is_resumed_with_confirmation():
    view, _ = after("d", backends=DRAINED)
    assert "Resume a?" in question_of(view.question)
    assert after("y", view=view, backends=DRAINED)[1] == [Order(Act.RESUME, "a")]


def test_drain_without_backends_says_so():
    view, orders = after("d", backends=())
    assert orders == [None]
    assert "no backend" in view.note


def test_q_quits_p_pauses_and_goes_on_and_help_comes_and_goes():
    assert after("q")[1] == [Order(Act.QUIT)]
    assert after("p")[0].paused
    assert not after("p", "p")[0].paused
    assert after("?")[0].help
    assert not after("?", "?")[0].help
    assert after("KEY_CTRL_L")[1] == [Order(Act.REDRAW)]


def test_a_note_is_gone_with_the_next_key():
    assert after("x", view=View(note="done"))[0].note == ""


def test_unknown_keys_do_nothing():
    for key in ("x", "Q", "KEY_F1", "", "y"):
        view, orders = after(key)
        assert (view, orders) == (View(chosen="a"), [None])


def test_read_only_mode_has_no_dangerous_key():
    keys = table(read_only=True)
    assert not [key for key in keys if key.dangerous]
    assert {key.verb for key in KEYS} - {key.verb for key in keys} == {Verb.DRAIN}
    assert after("d", read_only=True)[0].question is None


def test_every_dangerous_key_asks_first():
    for key in KEYS:
        if key.dangerous:
            view, order = press(View(), key.press, BACKENDS, KEYS)
            assert view.question is not None
            assert order is None


def test_q_in_aegis_top_leaves_it():
    quits = next(key for key in table(remote=True) if key.verb is Verb.QUIT)
    assert "leave" in quits.text
    assert "stop" not in quits.text


def test_no_key_stands_twice_in_the_table():
    assert len(by_press(KEYS)) == len(KEYS)
    assert {key.verb for key in KEYS} == set(Verb)


def test_the_keys_of_the_documentation_are_those_of_the_table():
    assert markdown() in (ROOT / "docs/operations.md").read_text()


def test_view_is_a_value():
    assert replace(View(), paused=True) == View(paused=True)
