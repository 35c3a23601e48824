"""The words below the dashboard of the demo."""

from __future__ import annotations

import pytest

from scripts.demo_story import BY_KEY, LINES, STORY, narration, scene_at
from scripts.fake_backend import Switches

SCENES = [*BY_KEY.values(), *(scene for _, scene in STORY)]


def test_the_story_slows_breaks_kills_and_heals_within_a_minute():
    names = [scene_at(second).name for second in range(61)]
    assert {"slow", "failing", "dead", "healthy"} <= set(names)
    assert names[0] == names[-1] == "healthy"
    assert scene_at(1e6).name == "healthy"


@pytest.mark.parametrize("columns", [80, 110, 160])
@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.words[:24])
def test_a_narration_fits_and_says_all_its_words(scene, columns):
    lines = narration(scene, columns, playing=True, traffic=True)
    assert len(lines) == LINES
    assert all(len(line) <= columns for line in lines)
    assert " ".join(lines[1:3]).strip() == scene.words


@pytest.mark.parametrize("traffic", [True, False])
@pytest.mark.parametrize("playing", [True, False])
def test_eighty_columns_cut_nothing_of_the_keys_and_intervals(playing, traffic):
    narrow, wide = (narration(STORY[0][1], columns, playing=playing, traffic=traffic)[3:] for columns in (80, 200))
    assert narrow == wide


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.words[:24])
def test_the_fake_backend_knows_the_switches_of_every_scene(scene):
    Switches().changed(scene.switches)
