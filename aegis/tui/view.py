"""What the person at the dashboard made of it: selection, pause, help, an open question. Pure: a key makes the next."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from aegis.metrics.snapshot import BackendView
from aegis.tui.keys import Key, Verb, by_press

YES: Final = frozenset({"y", "Y"})


class Act(Enum):
    """What the program has to do for a key."""

    QUIT = "quit"
    DRAIN = "drain"
    RESUME = "resume"
    REDRAW = "redraw"


@dataclass(frozen=True, slots=True)
class Order:
    """One act, and on which backend."""

    act: Act
    backend: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """The state of the screen that no snapshot knows."""

    chosen: str | None = None  # by name, so that it survives a reload
    paused: bool = False
    help: bool = False
    note: str = ""  # what the last order came to; gone with the next key
    question: Order | None = None  # waits for y or anything else


def question_of(order: Order) -> str:
    """The words that ask for a confirmation."""
    if order.act is Act.DRAIN:
        return f" Drain {order.backend}? It gets no new requests.  y: yes   any other key: no "
    return f" Resume {order.backend}? It gets its share of requests again.  y: yes   any other key: no "


def settle(view: View, backends: Sequence[BackendView]) -> View:
    """The view with a selection that exists: the first backend when the selected one is gone."""
    names = [each.name for each in backends]
    if view.chosen in names or (view.chosen is None and not names):
        return view
    return replace(view, chosen=names[0] if names else None)


def press(
    view: View, pressed: str, backends: Sequence[BackendView], keys: tuple[Key, ...]
) -> tuple[View, Order | None]:
    """(the view after this key, what the program has to do now)."""
    if view.question is not None:
        return replace(view, question=None, note=""), view.question if pressed in YES else None
    key = by_press(keys).get(pressed)
    view = replace(settle(view, backends), note="")
    if key is None:
        return view, None
    return _after(view, key.verb, backends), ORDERS.get(key.verb)


ORDERS: Final = {Verb.QUIT: Order(Act.QUIT), Verb.REDRAW: Order(Act.REDRAW)}


def _after(view: View, verb: Verb, backends: Sequence[BackendView]) -> View:
    match verb:
        case Verb.PAUSE:
            return replace(view, paused=not view.paused)
        case Verb.HELP:
            return replace(view, help=not view.help)
        case Verb.DRAIN:
            return _ask(view, backends)
        case Verb.PREVIOUS:
            return _moved(view, backends, -1)
        case Verb.NEXT:
            return _moved(view, backends, 1)
        case _:
            return view


def _ask(view: View, backends: Sequence[BackendView]) -> View:
    for each in backends:
        if each.name == view.chosen:
            return replace(view, question=Order(Act.RESUME if each.drained else Act.DRAIN, each.name))
    return replace(view, note="there is no backend to drain")


def _moved(view: View, backends: Sequence[BackendView], step: int) -> View:
    names = [each.name for each in backends]
    if view.chosen is None:
        return view
    place = min(max(0, names.index(view.chosen) + step), len(names) - 1)
    return replace(view, chosen=names[place])
