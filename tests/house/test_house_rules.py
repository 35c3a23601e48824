import ast
from collections import Counter

import pytest

from tests.house.tree import PACKAGE, ROOT, calls, imported, parsed, room, sources

DATING = {
    "aegis.events",
    "aegis.http1.write",  # the Date field
    "aegis.logs.access",
    "aegis.ratelimit.ticks",  # the record of decisions
    "aegis.service.observe",
    "aegis.service.several",
}
"""Modules that read the wall clock, to say when something happened."""

LAYERS = {
    "startup validation": {"StartupValidation"},
    "request validation": {"PathTraversal", "HostWhitelist", "Method", "BodySize"},
    "security headers": {"SecurityHeaders"},
    "hop-by-hop stripping": {"HopByHop"},
    "rate limiting": {"RateLimit"},
    "circuit breaker": {"CircuitBreaker"},
    "timeouts": {"SlowHead", "SlowBody", "SlowReader"},
    "log hygiene": {"LogHygiene"},
}


def compiled():
    """The modules that setup.py lets mypyc compile."""
    (rooms,) = [
        ast.literal_eval(node.value)
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "COMPILED"
    ]
    parts = [("aegis", room.strip("."), name) for room, names in rooms.items() for name in names]
    return [".".join(filter(None, each)) for each in parts]


@pytest.mark.parametrize("module", sorted(sources().keys() - set(compiled())))
def test_no_interpreted_class_derives_from_a_compiled_one(module):
    nodes = list(ast.walk(parsed(module)))
    foreign = {
        alias.asname or alias.name
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module in compiled()
        for alias in node.names
    }
    bases = {ast.unparse(base) for node in nodes if isinstance(node, ast.ClassDef) for base in node.bases}
    assert not bases & foreign  # TypeError when it is imported


@pytest.mark.parametrize("module", compiled())
def test_no_slice_of_a_compiled_module_has_a_call_in_its_bounds(module):
    # mypyc evaluates the bounds twice where what is sliced is no built-in sequence: bytes were sent twice.
    bounds = [
        bound
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Slice)
        for bound in (node.lower, node.upper, node.step)
        if bound is not None
    ]
    assert [ast.unparse(bound) for bound in bounds if any(isinstance(each, ast.Call) for each in ast.walk(bound))] == []


@pytest.mark.parametrize("module", compiled())
def test_no_class_of_a_compiled_module_has_keywords(module):
    # mypyc drops them without a word: each access line had an empty `detail`, which omit_defaults should have left out.
    classes = [node for node in ast.walk(parsed(module)) if isinstance(node, ast.ClassDef)]
    assert [node.name for node in classes if node.keywords] == []


@pytest.mark.parametrize("module", compiled())
def test_no_compiled_module_asks_for_the_identity_of_an_element(module):
    # A tuple, a number or a float has none where mypyc unboxes it: no pick by least connections found a backend.
    questions = [
        node
        for node in ast.walk(parsed(module))
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
    ]
    elements = [each for each in questions if any(isinstance(n, ast.Subscript) for n in [each.left, *each.comparators])]
    assert [ast.unparse(each) for each in elements] == []


def test_package_files_are_empty():
    assert [path for path in PACKAGE.rglob("__init__.py") if path.read_text().strip()] == []


@pytest.mark.parametrize("module", sources())
def test_no_module_is_named_after_nothing(module):
    words = set(module.replace("_", ".").split("."))
    assert not words & {"util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "base", "core"}


@pytest.mark.parametrize("module", sources())
def test_a_module_says_what_it_is_for(module):
    assert ast.get_docstring(parsed(module))


@pytest.mark.parametrize("module", sources())
def test_nobody_patches_but_the_entry_point(module):
    patching = {name for name in calls(module) if name.startswith("patch_")}
    assert patching == ({"patch_all"} if module == "aegis.__main__" else set())


def test_the_entry_point_patches_before_it_imports_anything_else():
    _, first, second, *_ = parsed("aegis.__main__").body
    assert ast.unparse(first) == "from gevent import monkey"
    assert ast.unparse(second) == "monkey.patch_all()"


@pytest.mark.parametrize("module", sources())
def test_no_part_starts_a_greenlet_of_its_own(module):
    # A tunnel's second direction ends with its request; a thread pool's `spawn` starts no greenlet.
    exempt = {"aegis.proxy.tunnel", "aegis.thread"}
    if room(module) not in {"background", "service", "process"} and module not in exempt:
        assert not calls(module) & {"spawn", "spawn_later", "spawn_raw"}


@pytest.mark.parametrize("module", sources())
def test_nobody_lets_the_loop_watch_children(module):
    """It would take the exit codes of all children, and whoever waits for one of them would find none."""
    assert not imported(module) & {"subprocess", "gevent.subprocess", "multiprocessing"}
    assert not calls(module) & {"fork_and_watch", "install_sigchld"}


@pytest.mark.parametrize("layer", LAYERS)
def test_every_security_layer_is_marked_where_it_stands(layer):
    text = "\n".join(path.read_text() for path in sources().values())
    for mark in LAYERS[layer]:
        assert f"[SECURITY] {mark}: " in text, mark


def test_every_security_mark_says_why():
    for module, path in sources().items():
        for line in path.read_text().splitlines():
            _, found, words = line.partition("[SECURITY] ")
            if found:
                name, colon, why = words.partition(": ")
                assert name.isidentifier(), (module, line)
                assert colon, (module, line)
                assert len(why) > 10, (module, line)


def test_the_files_of_the_tests_have_names_of_their_own():
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_wall_time_is_read_where_something_is_dated_and_nowhere_else():
    """Durations, windows and deadlines go by a clock that nobody sets."""
    assert {module for module in sources() if _names_wall_time(module)} == DATING


def _names_wall_time(module):
    names = {(node.module, alias.name) for node in _from_imports(module) for alias in node.names}
    return ("time", "time") in names or ast.unparse(parsed(module)).find("time.time(") >= 0


def _from_imports(module):
    return [node for node in ast.walk(parsed(module)) if isinstance(node, ast.ImportFrom)]
