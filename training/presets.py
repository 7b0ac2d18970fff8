"""What the experiments are told: how much is made, in which settings, and which arms there are (docs/protocol.md).

Everything that decides an answer stands in these tables and in `PROTOCOL`; `protocol_fingerprint` is of all of it.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from endorender.dataset.developing import RESPONSES
from endorender.dataset.variation import WANDERING
from endorender.registry import Model
from training.augment import Augment
from training.files import fingerprint

KNOWN_LOOKS = ("yellow_tan", "pale_pink", "dark_red")  # that are trained on
NEW_LOOK = "deep_red"  # that no network ever sees
LEAD = "median"  # the protocol whose abs_rel decides
# How every view is seen: whatever is compared was seen alike.
CAMERA: dict[str, Any] = {"type": "pinhole", "fov": {"uniform": [80, 120]}}
FLIGHT: dict[str, Any] = WANDERING
RESPONSE: dict[str, Any] = RESPONSES["scopes"][1]  # of arms with a drawn one: `scopes` of `endorender list response`
# Of plain pictures, so that they have the tints of tissue too: the looks' radiance is 1.26 to 2.05 times as much in red
# as in green and 0.66 to 0.83 times in blue, and white balance turns that as above.
TINTS = [{"loguniform": [1.07, 2.42]}, 1.0, {"loguniform": [0.56, 0.98]}]
# Of plain pictures and path-traced ones together: from grey to the reddest tissue.
GREY_TO_RED = [{"loguniform": [0.9, 2.42]}, 1.0, {"loguniform": [0.56, 1.1]}]
UNVARIED = {"exposure": 0.0, "gamma": 0.0, "colour": 0.0}
# Each counts up when docs/protocol.md changes what is done, beyond what stands in the tables here.
PROTOCOL = {"adapt": 5, "data": 5, "variety": 5, "mix": 7}


class Setting(Model):
    """One way of training.

    title: in answers. model: the network. loss: what it is trained for. augment: how images are varied at load. last:
    the fine-tuning mode that `last` stands for in the arms.
    steps, data_steps, further_steps, variety_steps: of training on plain images in `adapt` and `data`, after it, and of
    `variety`. rate, rates: peak learning rate at first; those tried afterwards, the same for every arm. batch: images
    in a step.
    """

    title: str
    model: dict[str, Any]
    loss: dict[str, Any] = Field({"type": "silog"})
    augment: Augment
    last: Literal["last-layer", "head"] = "head"
    steps: int = Field(ge=1)
    data_steps: int = Field(ge=1)
    further_steps: int = Field(ge=1)
    variety_steps: int = Field(ge=1)
    rate: float = Field(2e-3, gt=0)
    rates: tuple[float, ...] = Field(min_length=1)
    batch: int = Field(8, ge=1)

    def augmented(self, drawn: bool, tints: list[Any] | None) -> Augment:
        """How images are varied. drawn: by RESPONSE in the place of exposure, gamma and colour. tints: its white
        balance, where not all pictures have tissue's colour."""
        if not drawn:
            return self.augment
        response = RESPONSE | ({"white_balance": tints} if tints else {})
        return Augment(**{**self.augment.model_dump(), **UNVARIED, "response": response})

    def uncoloured(self) -> Setting:
        """The same without augmentation of colour."""
        augment = self.augment.model_copy(update=UNVARIED)
        return self.model_copy(update={"title": f"{self.title}, no colour augmentation", "augment": augment})


class ArmSpec(Model):
    """How an arm's networks come about.

    after_plain: from the weights of plain training, for `further_steps`; else from random ones, for all steps.
    images: "plain", "cinematic" or "both", of the same viewpoints. drawn: the camera's response is drawn at load.
    part: which weights are trained, "last" by the setting. mean_of: arms whose weights are averaged instead.
    """

    title: str
    after_plain: bool = True
    images: Literal["plain", "cinematic", "both"] = "plain"
    drawn: bool = False
    part: Literal["full", "last"] = "full"
    mean_of: tuple[str, ...] = ()


ARMS = {
    "plain": ArmSpec(title="plain further"),
    "toned": ArmSpec(title="plain, drawn response", drawn=True),
    "last": ArmSpec(title="cinematic, last layer", images="cinematic", part="last"),
    "all": ArmSpec(title="cinematic, all layers", images="cinematic"),
    "drawn": ArmSpec(title="cinematic, drawn response", images="cinematic", drawn=True),
    "scratch": ArmSpec(title="cinematic from scratch", images="cinematic", after_plain=False),
    "averaged": ArmSpec(title="weights of plain and cinematic averaged", mean_of=("plain", "all")),
}
DATA_ARMS = ("plain", "toned", "all", "drawn")


MIX_ARMS = {
    "plain": ArmSpec(title="plain pictures", after_plain=False, drawn=True),
    "both": ArmSpec(title="path-traced ones beside them", after_plain=False, images="both", drawn=True),
}


class Comparison(Model):
    """after against before, both arms. tested: a claim of the protocol; else its interval is told, and no verdict."""

    title: str
    before: str
    after: str
    tested: bool = True


COMPARISONS = (
    Comparison(title="path tracing", before="toned", after="drawn"),
    Comparison(title="fine-tuning, last layer", before="plain", after="last"),
    Comparison(title="fine-tuning, all layers", before="plain", after="all"),
    Comparison(title="from scratch", before="plain", after="scratch", tested=False),
    Comparison(title="averaged weights", before="plain", after="averaged", tested=False),
    Comparison(title="drawn response on plain images", before="plain", after="toned", tested=False),
)
MIX_COMPARISONS = (Comparison(title="path tracing beside", before="plain", after="both"),)


class Mix(Model):
    """How much `mix` makes beside plain pictures of `adapt`'s phantoms.

    tissues: patients to train on whose every view has a tissue of its own, and viewpoints of each; in training these
    path-traced pictures come `times` as often. tests: patients to judge on, and viewpoints of each. steps, batch: of
    training, from random weights.
    """

    tissues: tuple[int, int]
    tests: tuple[int, int]
    times: int = Field(ge=1)
    steps: int = Field(ge=1)
    batch: int = Field(ge=1)


class Preset(Model):
    """How much an experiment makes.

    plain: phantoms of `adapt` that are seen in plain pictures alone, and views of each: what networks learn first.
    people: patients in train, val and test. views, test_views: viewpoints of each in train and val, and in test.
    airway_views: of the shipped airway. size, spp: of the frames. settings: by name. seeds: repetitions.
    counts: numbers of viewpoints of `data`. conditions: K of `variety`; fold: patients in each of its two folds;
    variety_views, unseen_views: viewpoints of each that are trained on at K = 1, and that are not. mix: of `mix`.
    """

    plain: tuple[int, int]
    people: tuple[int, int, int]
    views: int = Field(ge=1)
    test_views: int = Field(ge=1)
    airway_views: int = Field(ge=1)
    size: str
    spp: int = Field(ge=1)
    settings: dict[str, Setting]
    seeds: int = Field(ge=1)
    counts: tuple[int, ...]
    conditions: tuple[int, ...]
    fold: int = Field(ge=1)
    variety_views: int = Field(ge=1)
    unseen_views: int = Field(ge=1)
    mix: Mix | None = None

    def settings_of(self, experiment: str) -> dict[str, Setting]:
        """Those of an experiment: `variety` also tries today's without augmentation of colour."""
        if experiment != "variety":
            return self.settings
        return {**self.settings, "uncoloured": self.settings["today"].uncoloured()}


SHAPE: dict[str, Any] = {"type": "silog", "variance_focus": 0.85}  # the judge gives the scale away
NO_COLOUR = Augment(**UNVARIED, mirror=0.5)
TODAY = Augment(exposure=0.3, gamma=0.2, colour=0.15, mirror=0.5, rotation=15.0, zoom=(1.0, 1.5))


def _settings(paper: dict[str, Any], today: dict[str, Any], **both: Any) -> dict[str, Setting]:
    return {
        "paper": Setting(**{"title": "as in the paper", "augment": NO_COLOUR, **both, **paper}),
        "today": Setting(**{"title": "as one would today", "augment": TODAY, **both, **today}),
    }


PRESETS = {
    "tiny": Preset(
        plain=(3, 4), people=(2, 1, 2), views=4, test_views=1, airway_views=2, size="48x32", spp=2, seeds=2,
        counts=(4, 8), conditions=(1, 2, 4), fold=2, variety_views=4, unseen_views=1,
        settings=_settings(
            {"model": {"type": "cnn_crf", "width": 8, "levels": 2, "superpixels": 24}},
            {"model": {"type": "unet", "width": 8, "levels": 2}, "rates": (1e-3, 2e-3)},
            steps=12, data_steps=8, further_steps=6, variety_steps=6, rates=(1e-3,), batch=4,
        ),
    ),
    "small": Preset(
        plain=(120, 40), people=(30, 4, 12), views=40, test_views=16, airway_views=20, size="120x96", spp=12, seeds=5,
        counts=(150, 300, 600, 1200), conditions=(1, 2, 4), fold=8, variety_views=24, unseen_views=8,
        settings=_settings(
            {"model": {"type": "cnn_crf", "superpixels": 600}, "steps": 5000, "batch": 4},
            {"model": {"type": "unet", "cues": True}, "loss": SHAPE, "steps": 6000},
            data_steps=3000, further_steps=1500, variety_steps=2000, rates=(5e-4, 2e-3),
        ),
    ),
    "paper": Preset(
        plain=(200, 100), people=(100, 10, 20), views=60, test_views=30, airway_views=60, size="320x240", spp=64,
        seeds=5, counts=(375, 750, 1500, 3000, 6000), conditions=(1, 2, 4), fold=16, variety_views=60, unseen_views=12,
        settings=_settings(
            {"model": {"type": "cnn_crf", "superpixels": 1200}, "steps": 10_000, "data_steps": 10_000,
             "further_steps": 3000, "variety_steps": 4000},
            {"model": {"type": "unet", "width": 32, "levels": 5, "cues": True}, "loss": SHAPE, "steps": 20_000,
             "data_steps": 20_000, "further_steps": 6000, "variety_steps": 8000, "batch": 16},
            rates=(5e-4, 2e-3),
        ),
    ),
}  # fmt: skip


MIX = {
    "tiny": Mix(tissues=(2, 4), tests=(2, 1), times=2, steps=12, batch=4),
    "small": Mix(tissues=(30, 30), tests=(12, 8), times=6, steps=10_000, batch=4),
    "paper": Mix(tissues=(200, 60), tests=(20, 16), times=3, steps=40_000, batch=16),
}


def preset_of(experiment: str, name: str) -> Preset:
    """A preset as the experiment has it."""
    found = PRESETS[name]
    if experiment != "mix":
        return found
    today = found.settings["today"].model_copy(update=MIX[name].model_dump(include={"steps", "batch"}))
    return found.model_copy(update={"mix": MIX[name], "settings": {"today": today}})


def protocol_fingerprint(experiment: str, preset: str) -> str:
    """Of everything that an experiment is told; docs/protocol.md states it, every result carries it. A key that a model
    gets later, and that nothing here sets, changes no fingerprint."""
    mix = experiment == "mix"
    arms, comparisons = (MIX_ARMS, MIX_COMPARISONS) if mix else (ARMS, COMPARISONS)
    tables = {
        "protocol": PROTOCOL[experiment],
        "preset": preset_of(experiment, preset).model_dump(mode="json", exclude_unset=True),
        "views": [KNOWN_LOOKS, NEW_LOOK, CAMERA, FLIGHT, RESPONSE, GREY_TO_RED if mix else TINTS],
        "arms": {name: arm.model_dump(mode="json") for name, arm in arms.items()},
        "data_arms": DATA_ARMS,
        "comparisons": [c.model_dump(mode="json") for c in comparisons],
    }
    return fingerprint(tables)
