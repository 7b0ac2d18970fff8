"""docs/own.md: what it prints does what it says."""

import re
from pathlib import Path

import numpy as np

from endorender.dataset import configure
from endorender.dataset.variation import draw
from endorender.scene import tissues

PAGE = Path(__file__).parents[2] / "docs" / "own.md"


def block(language):
    return re.search(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)[1]


def test_the_printed_configuration_has_tissues_and_lights_of_ones_own(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text(block("yaml"))
    config = configure(file)
    drawn = {v.name: draw(v, config.light, np.random.default_rng(0)) for v in config.columns}
    assert drawn["inflamed"]["tissue"]["blood"] == 0.04
    assert drawn["mine"]["tissue"]["type"] == "custom"
    assert drawn["mine"]["tissue"]["phase"] == {"type": "hg", "g": 0.7}
    assert drawn["lamp"]["light"]["type"] == "measured"


def test_the_printed_class_is_a_tissue_by_name(monkeypatch):
    monkeypatch.setattr(tissues, "_classes", dict(tissues._classes))
    monkeypatch.setattr(tissues, "_cases", dict(tissues._cases))
    exec(block("python"), {"__name__": "mine"})
    tissue = tissues.build("flushed")
    assert tissue.roughness == 0.04
    assert tissues.build(tissues.dump(tissue)) == tissue
    own = [{"name": "a", "look": "pale_pink", "tissue": {"type": "flushed"}}]
    assert configure(ct="sample", variations=own).columns[0].tissue == {"type": "flushed"}
