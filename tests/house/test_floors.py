"""Imports go down only, rooms of one floor do not know each other, nothing goes in a circle."""

import pytest

from tests.house.tree import imported, ours, room, sources

FLOORS = [
    ["__main__"],
    ["cli"],
    ["service"],
    ["process", "admin", "tui"],
    ["control"],
    ["wire", "proxy"],
    ["pool", "ratelimit"],
    ["transport"],
    ["metrics", "logs", "events"],
    ["http1"],
    ["net"],
    ["security", "config"],
    ["context"],
    ["reasons", "background", "thread", "version"],
]
FLOOR = {name: number for number, floor in enumerate(FLOORS) for name in floor}


@pytest.mark.parametrize("module", sources())
def test_every_module_is_in_a_room_of_the_house(module):
    assert room(module) in FLOOR


@pytest.mark.parametrize("module", sources())
def test_imports_go_down_only_and_rooms_of_one_floor_do_not_know_each_other(module):
    mine = room(module)
    wrong = {name for name in ours(module) if room(name) != mine and FLOOR[room(name)] <= FLOOR[mine]}
    assert not wrong, f"{module} imports {sorted(wrong)}"


def test_no_imports_go_in_a_circle():
    done = set()

    def visit(module, path):
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for name in sorted(ours(module)):
                visit(name, [*path, module])
            done.add(module)

    for module in sources():
        visit(module, [])


def test_the_way_from_the_entry_to_the_deepest_module_is_short():
    depths = {}

    def depth(module):
        if module not in depths:
            depths[module] = 1 + max((depth(name) for name in ours(module)), default=0)
        return depths[module]

    assert depth("aegis.__main__") <= 16


@pytest.mark.parametrize(
    ("foreign", "rooms"),
    [
        ("click", {"cli"}),
        ("httptools", {"http1"}),
        ("urllib3", {"transport"}),
        ("yaml", {"config"}),
        ("blessed", {"tui"}),
    ],
)
def test_one_room_alone_knows_a_foreign_library(foreign, rooms):
    knowing = {room(module) for module in sources() if any(_is(name, foreign) for name in imported(module))}
    assert knowing <= rooms


@pytest.mark.parametrize("pure", ["http1", "security", "reasons", "context", "version"])
def test_pure_rooms_touch_no_socket_and_no_loop(pure):
    for module in sources():
        if room(module) == pure:
            assert not [
                name for name in imported(module) if any(_is(name, each) for each in ("socket", "gevent", "select"))
            ]


@pytest.mark.parametrize("hot", ["http1", "net", "wire", "proxy"])
def test_no_gevent_socket_on_the_hot_path(hot):
    for module in sources():
        if room(module) == hot:
            assert "gevent.socket" not in imported(module), module


def _is(name, library):
    return name == library or name.startswith(library + ".")
