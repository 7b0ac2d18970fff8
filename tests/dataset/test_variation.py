"""What is drawn for a frame: distributions, constraints, presets; pure in the names."""

import json

import numpy as np
import pytest
from scipy import stats

from endorender.dataset import PRESETS, Variation, configure, draw, generate, open_dataset
from endorender.dataset.constraints import holds
from endorender.dataset.distributions import LARGEST, Source, distributions, drawn, parsed, probes
from endorender.dataset.view import parameters_of
from endorender.errors import UserError
from endorender.scene.mucosa import Mucosa, mucosas
from tests.dataset.tubes import tube

LIGHT = {"type": "endoscope"}


def many(spec, count=4000):
    rng = np.random.default_rng(1)
    return np.array([drawn(spec, Source(rng)) for _ in range(count)])


@pytest.mark.parametrize(("name", "case"), distributions.cases())
def test_every_distribution_stays_between_its_ends(name, case):
    one = parsed({name: case if name != "fixed" else case["value"]})
    values = [one.at(u) for u in np.append(np.linspace(0, 1, 200, endpoint=False), LARGEST)]
    ends = [one.at(0.0), one.at(LARGEST)]
    if isinstance(values[0], float):
        assert ends == [min(values), max(values)]
        assert values == sorted(values)
        low, high = getattr(one, "low", None), getattr(one, "high", None)
        assert low is None or (low <= ends[0] and ends[1] <= high)


@pytest.mark.parametrize(
    ("spec", "law"),
    [
        ({"uniform": [2, 5]}, stats.uniform(2, 3)),
        ({"loguniform": [0.01, 10]}, stats.loguniform(0.01, 10)),
        ({"normal": [3, 0.5]}, stats.truncnorm(-4, 4, 3, 0.5)),
        ({"truncated": [3, 0.5, 2.9, 4]}, stats.truncnorm(-0.2, 2, 3, 0.5)),
        ({"truncated": [0, 1, 6, 8]}, stats.truncnorm(6, 8)),
        ({"sobol": {"normal": [3, 0.5]}}, stats.truncnorm(-4, 4, 3, 0.5)),
    ],
)
def test_laws(spec, law):
    assert stats.kstest(many(spec), law.cdf).pvalue > 1e-3


def test_choice_and_fixed():
    values = many({"choice": ["a", "b", "b", "c"]})
    assert {v: (values == v).mean() for v in "abc"} == pytest.approx({"a": 0.25, "b": 0.5, "c": 0.25}, abs=0.03)
    assert drawn({"x": [{"fixed": {"uniform": [1, 1]}}, 2], "type": "choice"}, Source(np.random.default_rng(0))) == {
        "x": [1, 2],
        "type": "choice",
    }


def test_sobol_spreads_over_the_views_and_grids_go_through_all_combinations():
    spec = {"a": {"sobol": [0, 1]}, "b": [{"sobol": [0, 1]}], "c": {"grid": [1, 2, 3]}, "d": {"grid": ["x", "y"]}}
    rows = []
    for view in range(64):
        source = Source(np.random.default_rng(view), view, seed=7)
        source.prepare(spec)
        rows.append(drawn(spec, source))
    for key in (lambda r: r["a"], lambda r: r["b"][0]):
        assert sorted(int(key(r) * 64) for r in rows) == list(range(64))  # one in each 64th
    squares = {(int(r["a"] * 8), int(r["b"][0] * 8)) for r in rows}
    assert len(squares) == 64  # and one in each square of the two together
    assert [(r["c"], r["d"]) for r in rows[:7]] == [
        (1, "x"),
        (1, "y"),
        (2, "x"),
        (2, "y"),
        (3, "x"),
        (3, "y"),
        (1, "x"),
    ]


def test_every_parameter_can_be_drawn_and_all_of_it_is_recorded():
    v = Variation(
        name="v",
        look={"choice": ["pale_pink", "deep_red"]},
        tissue={"sigma_t": [0, {"uniform": [2, 4]}, 3, 3], "phase": {"type": "hg", "g": {"uniform": [0.2, 0.8]}}},
        light={"intensity": {"loguniform": [100, 1000]}},
        response={"white_balance": [{"uniform": [0.8, 1.2]}, 1, 1]},
        mucosa={"redness": {"uniform": [0.1, 0.9]}},
        constraints=("light.intensity < 500", "tissue.sigma_t[1] > 2.5"),
    )
    layer = mucosas.dump(Mucosa(seed=3))
    found = [draw(v, LIGHT, np.random.default_rng(n), None, layer, n) for n in range(60)]
    assert {f["look"] for f in found} == {f["tissue"]["type"] for f in found} == {"pale_pink", "deep_red"}
    assert all(100 <= f["light"]["intensity"] < 500 and 2.5 < f["tissue"]["sigma_t"][1] <= 4 for f in found)
    assert len({f["tissue"]["phase"]["g"] for f in found}) == 60
    assert len({f["mucosa"]["redness"] for f in found}) == 60
    assert {f["mucosa"]["seed"] for f in found} == {3}
    assert found[7] == draw(v, LIGHT, np.random.default_rng(7), None, layer, 7)
    json.dumps(found, allow_nan=False)


def test_constraints_are_arithmetic_and_nothing_else():
    values = {"a": {"b": [1.0, 2.0], "c": None}, "name": "x"}
    for text, expected in [
        ("a.b[0] < a.b[1] <= 2", True),
        ("a.b[0] * 2 - 1 == 1 and not a.b[1] / 2 > 1", True),
        ("name == 'y' or a.b[0] > 5", False),
        ("a.c < 0 and a.c * 2 > 7", True),  # nothing is asked of what is not set
        ("-a.b[1] > 0", False),
    ]:
        assert holds(text, values) is expected, text
    bad = ["__import__('os')", "a.b.append(1)", "a.d > 1", "z > 1", "a.b[7] > 1", "a <", "lambda: 1", "name < 3"]
    bad += ["a.b[0] / 0 > 1", "[x for x in a.b]", "9**9**9 > 1", "(" * 400 + "1" + ")" * 400, "a" * 501]
    for text in bad:
        with pytest.raises(UserError) as error:
            holds(text, values)
        assert error.value.code == "INVALID_CONSTRAINT"
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"light": {"intensity": {"uniform": [5, 1]}}}, "low must be at most high"),
        ({"light": {"intensity": {"uniform": [5]}}}, r"uniform takes \[low, high\]"),
        ({"light": {"intensity": {"normal": [1, 1]}}}, "greater than or equal to 0"),
        ({"light": {"intensity": {"loguniform": [0, 1]}}}, "greater than 0"),
        ({"look": "pale_pink", "tissue": {"roughness": {"uniform": [0.5, 1.5]}}}, "roughness"),
        ({"look": {"choice": ["pale_pink", "blue"]}}, "no look is called 'blue'"),
        ({"response": {"jpeg_quality": {"choice": [50, 500]}}}, "jpeg_quality"),
        ({"light": {"intensity": {"sobol": {"grid": [1, 2]}}}}, "neither sobol nor grid"),
        ({"constraints": ["light.colour < 3"]}, "constraint 'light.colour < 3'"),
        ({"constraints": ["light.brightness < 3"]}, "there is no brightness"),
    ],
)
def test_what_could_be_drawn_wrongly_is_said_before_anything_is_rendered(values, words):
    with pytest.raises(UserError, match=words) as error:
        configure(ct="sample", variations=[{"name": "v", **values}])
    assert "\n" not in str(error.value)


def test_ranges_of_camera_and_trajectory_are_checked_too():
    for values, words in [
        ({"camera": {"type": "pinhole", "fov": {"uniform": [90, 200]}}}, "fov"),
        ({"trajectory": {"jitter": {"uniform": [0, 2]}}}, "jitter"),
        ({"trajectory": {"speed": 2}}, "unknown key"),
        ({"constraints": ["camera.zoom > 1"]}, "there is no zoom"),
    ]:
        with pytest.raises(UserError, match=words):
            configure(ct="sample", **values)


def test_a_whole_camera_is_drawn_for_every_view():
    choice = ["scaramuzza:mask=corners", {"type": "fisheye", "fov": {"uniform": [110, 170]}}, {"type": "pinhole"}]
    config = configure(ct="sample", size="64x48", camera={"choice": choice})
    views = [config.draw_view("p001", n)["camera"] for n in range(60)]
    assert {v["type"] for v in views} == {"scaramuzza", "fisheye", "pinhole"}
    assert {(v["width"], v["height"]) for v in views} == {(64, 48)}
    assert len({v["fov"] for v in views if v["type"] == "fisheye"}) > 10
    assert views == [config.draw_view("p001", n)["camera"] for n in range(60)]
    assert config == configure(**{**config.model_dump(), "ct": "sample"}), "as it is stored it says the same"
    # What may stand in a choice is tried at both ends, too: here the field of view of the first, and not the last.
    for bad, words in (
        ({"type": "pinhole", "fov": {"uniform": [170, 190]}}, "fov"),
        ({"type": "pinhole", "fov": {"uniform": [-5, 90]}}, "fov"),
        ("pinhole:width=3", "the camera's size is set by size"),
        ("lens", "no camera is called"),
        (3, "must be a name or a mapping"),
    ):
        for order in ([bad, "pinhole"], ["pinhole", bad], ["pinhole", bad, "fisheye"]):
            with pytest.raises(UserError, match=words):
                configure(ct="sample", camera={"choice": order})


def test_what_stands_in_a_choice_leaves_the_rest_evenly_spread():
    """A sobol inside a choice takes no coordinate from one outside it."""
    spec = [{"choice": [{"sobol": [0, 1]}, 2]}, {"sobol": [0, 1]}]
    source = [Source(np.random.default_rng(n), n, 5) for n in range(64)]
    for one in source:
        one.prepare(spec)
    second = sorted(drawn(spec, one)[1] for one in source)
    assert np.abs(np.array(second) - (np.arange(64) + 0.5) / 64).max() < 1 / 64


def test_a_constraint_that_nothing_meets_is_said():
    v = Variation(name="v", light={"intensity": {"uniform": [1, 2]}}, constraints=("light.intensity > 2",))
    with pytest.raises(UserError, match="refused 1000 draws") as error:
        draw(v, LIGHT, np.random.default_rng(0))
    assert error.value.code == "CONSTRAINTS"


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_presets_draw_what_the_models_take(preset):
    config = configure(ct="phantom:1", preset=preset, views=50)
    layer = mucosas.dump(Mucosa())
    for v in config.columns:
        found = [parameters_of(config, "p001", n, v, layer) for n in range(50)]
        assert found[5] == parameters_of(config, "p001", 5, v, layer)
        varied = {json.dumps(f) for f in found}
        assert len(varied) == (50 if v.name in ("clinical", "randomized") else 1)
    views = [config.draw_view("p001", n) for n in range(50)]
    cameras_seen = {json.dumps(v["camera"]) for v in views}
    assert len(cameras_seen) == (50 if preset in ("clinical", "randomized", "training") else 1)
    flown = {v["trajectory"]["jitter"] for v in views}
    assert len(flown) == (50 if preset in ("clinical", "randomized", "training") else 1)
    assert configure(ct="sample", preset=preset, camera="fisheye").camera["type"] == "fisheye"


def test_probes_reach_every_choice():
    spec = [{"choice": [1, 2, 3]}, {"choice": list(range(64))}, {"uniform": [0, 1]}]
    found = list(zip(*(drawn(spec, source) for source in probes(spec))))
    assert set(found[0]) == {1, 2, 3}
    assert set(found[1]) == set(range(64))
    assert min(found[2]) == 0


def test_a_dataset_whose_camera_flight_and_layer_vary(tmp_path):
    ct = tube(tmp_path / "ct.nii.gz")
    config = configure(
        ct=str(ct),
        views=3,
        size="16x12",
        spp=1,
        camera={"type": "pinhole", "fov": {"sobol": [60, 120]}},
        trajectory={"roll": {"uniform": [0, 5]}},
        constraints=["camera.fov > 70"],
        variations=[{"name": "v", "look": "pale_pink", "mucosa": {"redness": {"uniform": [0, 1]}}}],
    )
    root = generate(config, tmp_path / "data")
    frames = open_dataset(root).frames
    for frame in frames:
        assert frame.camera["fov"] > 70
        assert frame.scene["trajectory"]["roll"] <= 5
        assert frame.scene["mucosa"]["redness"] == frame.parameters["mucosa"]["redness"]
        k = np.array(frame.K)
        assert k[0, 0] == pytest.approx(8 / np.tan(np.radians(frame.camera["fov"]) / 2))
        g = frame.geometry()
        v, u = np.mgrid[:12, :16]
        ray = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((12, 16))], -1)
        assert np.allclose(g["distance"], g["z_depth"] * np.linalg.norm(ray, axis=-1), rtol=1e-4, equal_nan=True)
    assert len({f.camera["fov"] for f in frames}) == 3
    before = (root / "p001/0001/v.exr").read_bytes()
    generate(config, root, only="p001/0001/v")
    assert (root / "p001/0001/v.exr").read_bytes() == before
