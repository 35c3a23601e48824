"""What a process that starts later learns of what was published before it."""

from __future__ import annotations

from types import SimpleNamespace

from aegis.config.schema import BackendEntry, Config
from aegis.process.publication import Pages, Publication
from aegis.process.shared import Board
from aegis.service.shared import Common, published_backends
from aegis.transport.resolver import Address


def common(**slots):
    return Common(Board(1), Pages(), SimpleNamespace(), SimpleNamespace(), [], "", [], {}, by_client=True, slots=slots)


def test_a_backend_that_came_back_has_another_slot_than_at_the_start():
    made = common(a=0, b=1, gone=2)
    made.know_slots()
    assert made.slots == {"a": 0, "b": 1, "gone": 2}
    made.pages.write(1, Publication("", {}, {"a": 0, "b": 3, "new": 1}))
    made.board.generation = 1
    made.know_slots()
    assert (made.slots["a"], made.slots["b"], made.slots["new"]) == (0, 3, 1)


def test_backends_that_were_published_have_the_addresses_that_were_vetted():
    config = Config(backends=(BackendEntry(url="http://a.test:81", weight=2),))
    (backend,) = published_backends(config, Publication("", {"a.test:81": (("192.0.2.1", 81),)}, {}))
    assert (backend.name, backend.weight, backend.addresses) == ("a.test:81", 2, (Address("192.0.2.1", 81),))
