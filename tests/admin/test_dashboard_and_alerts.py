"""The shipped Grafana dashboard and Prometheus rules speak of what Aegis really exposes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from aegis.admin import exposition
from tests.admin.exposed import CONTRACT, OPENMETRICS, parsed
from tests.service.observed import Watched

CONF = Path(__file__).parents[2] / "conf"
NAME = re.compile(r"\b(?:aegis|process)_[a-z0-9_]+\b")
SELECTOR = re.compile(r"\b((?:aegis|process)_[a-z0-9_]+)\s*\{([^}]*)\}")
GROUPED = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
LABEL = re.compile(r"\s*([a-z_]+)\s*(?:=~|!~|!=|=)\s*\"[^\"]*\"")
OF_THE_SCRAPE = {"instance", "job", "le"}  # what Prometheus adds, and a histogram's own


@pytest.fixture(scope="module")
def series():
    """Series name → its labels, of a live exposition."""
    watched = Watched()
    watched.ended()
    watched.parts.counters.decisions["hold", "few_samples"] += 1
    watched.parts.adaptive.p95_ms = 1.0
    parts = watched.parts
    _, text = exposition.expose(
        watched.observer.collect(), parts.counters, parts.backends.states, OPENMETRICS, lambda: None
    )
    return {sample.name: set(sample.labels) for family in parsed(text).values() for sample in family.samples}


@pytest.fixture(scope="module")
def board():
    return json.loads((CONF / "grafana-dashboard.json").read_text())


@pytest.fixture(scope="module")
def rules():
    (group,) = yaml.safe_load((CONF / "alerts.yml").read_text())["groups"]
    return group["rules"]


@pytest.fixture(scope="module")
def expressions(board, rules):
    drawn = [target["expr"] for panel in board["panels"] for target in panel.get("targets", ())]
    variables = [variable["query"] for variable in board["templating"]["list"] if variable["type"] == "query"]
    return [*drawn, *variables, *(rule["expr"] for rule in rules)]


def test_every_metric_named_is_exposed(expressions, series):
    named = {name for expression in expressions for name in NAME.findall(expression)}
    assert named - set(series) == set()
    assert len(named) > 25


def test_every_label_selected_or_grouped_by_is_one_of_the_metrics(expressions, series):
    for expression in expressions:
        for name, matchers in SELECTOR.findall(expression):
            labels = {LABEL.match(matcher)[1] for matcher in matchers.split(",")}
            assert labels - OF_THE_SCRAPE <= series[name], expression
        named = [series[name] for name in NAME.findall(expression)]
        for labels in GROUPED.findall(expression):
            wanted = {label.strip() for label in labels.split(",")} - OF_THE_SCRAPE
            assert all(wanted <= each for each in named), expression


def test_every_metric_of_the_contract_is_drawn(board):
    drawn = " ".join(target["expr"] for panel in board["panels"] for target in panel.get("targets", ()))
    forgotten = {name for name in CONTRACT if name not in drawn}
    assert forgotten == set()


def test_a_counter_is_never_drawn_or_compared_bare(expressions):
    for expression in expressions:
        for match in re.finditer(r"aegis_[a-z_]+_(?:total|bucket|count|sum)\b(?!\")", expression):
            before = expression[: match.start()]
            assert re.search(r"(?:rate|increase)\($", before), expression


def test_expressions_are_balanced(expressions):
    for expression in expressions:
        for opening, closing in ("()", "{}", "[]"):
            assert expression.count(opening) == expression.count(closing), expression


def test_an_alert_says_how_bad_it_is_and_what_to_do(rules):
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["alert"].startswith("Aegis")
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert not set(rule) - {"alert", "expr", "for", "labels", "annotations"}


def test_panels_have_numbers_of_their_own_and_do_not_overlap(board):
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
