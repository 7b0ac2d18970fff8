"""The configuration: validated once, flags over file, private paths kept out, YAML that cannot hurt."""

import json

import numpy as np
import pytest
from pydantic import Field

from endorender.ct import Volume
from endorender.dataset import PRESETS, RenderConfig, Variation, configure, draw, exr
from endorender.dataset.fingerprint import difference, fingerprint
from endorender.dataset.generate import describe
from endorender.dataset.patient import _mucosa, outline
from endorender.dataset.patients import by_rule
from endorender.dataset.spec import parse_spec
from endorender.dataset.variation import seed_of
from endorender.dataset.view import Shot, View, _negative
from endorender.errors import UserError
from endorender.safe_yaml import parse_yaml, read_yaml
from endorender.scene import LOOKS, lights, maps
from endorender.scene.surface import Coat, coats
from tests.registering import registered


def refusal(*args, **kwargs):
    with pytest.raises(UserError) as error:
        configure(*args, **kwargs)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_scope_is_a_width_a_name_or_what_fits():
    """As a number, a name, a spec or a mapping; all of them end as one mapping."""

    def scope(**given):
        return configure(ct="sample", **given).scope

    own = {"type": "own", "diameter": 8.0, "rigid": 10.0}
    assert [scope(scope=v) for v in ("8", 8, "own:diameter=8", own)] == [own] * 4
    assert scope(scope="cf-hq190l")["diameter"] == 13.2
    assert scope(scope="eb-1570k:rigid=4") == {"type": "eb-1570k", "diameter": 5.5, "rigid": 4.0}
    assert (scope(), scope(scope="auto"), scope(scope="none")) == ("auto", "auto", None)
    for bad, words in (
        ("0", "diameter: .*greater than 0"),
        ("nan", "diameter"),
        ("cf-hq19", "did you mean 'cf-hq190l'"),
    ):
        with pytest.raises(UserError, match=words):
            configure(ct="sample", scope=bad)


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text(
        "ct: [phantom:1, {ct: sample, alias: airway}]\nspp: 8\nsize: 64x48\ncamera: {type: pinhole, fov: 90}\n"
    )
    config = configure(file, spp=32, views=None, denoise=False)
    assert (config.spp, config.size, config.views) == (32, "64x48", 8)
    assert [p.alias for p in config.ct] == ["p001", "airway"]
    camera = config.build_camera()
    assert (camera.width, camera.height, camera.fov) == (64, 48, 90)


def test_spec_strings():
    assert parse_spec("fisheye:fov=120,k1=-0.01") == {"type": "fisheye", "fov": 120, "k1": -0.01}
    assert parse_spec("point:position=[1,2,3],attached=world") == {
        "type": "point",
        "position": [1, 2, 3],
        "attached": "world",
    }
    assert configure(ct="sample", camera="fisheye:fov=120").camera["fov"] == 120
    assert "unknown key" in refusal(ct="sample", light="endoscope:colur=1")


def test_calibrated_cameras_fit_any_size():
    config = configure(ct="sample", size="270x216", camera="scaramuzza:mask=octagon,vignetting=2")
    camera = config.build_camera()
    assert (camera.width, camera.calibrated, camera.mask, camera.vignetting) == (270, (1350, 1080), "octagon", 2)
    own = configure(ct="sample", size="270x216", camera="pinhole:fx=400,calibrated=[540, 432]").build_camera()
    assert own.K[0, 0] == own.K[1, 1] == 200


def test_depth_names_are_sorted_and_surface_is_always_there():
    assert configure(ct="sample").depth == ("surface",)
    assert configure(ct="sample", depth="expected, median").depth == ("surface", "median", "expected")
    assert configure(ct="sample", depth=["median"]).depth == ("surface", "median")


def test_response_of_the_configuration_lies_between_look_and_variation():
    config = configure(
        ct="sample",
        response="target=70,jpeg_quality=80,white_balance=[1.1, 1, 0.9]",
        variations=[{"name": "a", "look": "deep_red", "response": {"target": 50}}, {"name": "b"}],
    )
    a, b = (draw(v, config.light, np.random.default_rng(0), config.response)["response"] for v in config.columns)
    assert (a["target"], b["target"]) == (50, 70)
    assert a["contrast"] == LOOKS["deep_red"].response.contrast
    assert a["jpeg_quality"] == b["jpeg_quality"] == 80
    assert b["white_balance"] == [1.1, 1, 0.9]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "ct: missing"),
        ({"ct": "sample", "vews": 3}, "vews: unknown key"),
        ({"ct": "sample", "size": "0"}, "WIDTHxHEIGHT"),
        ({"ct": "sample", "size": "0x0"}, "WIDTHxHEIGHT"),
        ({"ct": "sample", "views": 0}, "views"),
        ({"ct": "sample", "spp": 0}, "spp"),
        ({"ct": "sample", "preset": "paper5"}, "paper4"),
        ({"ct": "sample", "surface": "wet"}, "interface"),
        (
            {"ct": "sample", "surface": "volume", "boundary": "refracting"},
            "boundary: light refracts at a wall: it needs surface interface",
        ),
        ({"ct": "sample", "boundary": "mirror"}, "straight"),
        ({"ct": "sample", "mucosa": "procedural:film=2"}, "film"),
        ({"ct": "sample", "mucosa": "procedural", "surface": "volume"}, "needs surface interface"),
        ({"ct": "sample", "camera": "pinhole:width=3"}, "size"),
        ({"ct": "sample", "camera": "scaramuzza:a0=3"}, "go together"),
        ({"ct": "sample", "response": "target"}, "key=value"),
        ({"ct": "sample", "response": "medan=3"}, "medan"),
        ({"ct": "sample", "response": {"jpeg_quality": 0}}, "jpeg_quality"),
        ({"ct": "sample", "depth": "surface,mean"}, "median"),
        ({"ct": [{"ct": "sample", "alias": "../up"}]}, "alias"),
        ({"ct": [{"ct": "sample", "alias": "a"}, {"ct": "phantom:1", "alias": "A"}]}, "alias"),
        ({"ct": "sample", "splits": {"train": ["p002"]}}, "p002"),
        ({"ct": "sample", "splits": {"train": ["p001"], "test": ["p001"]}}, "one split"),
        ({"ct": "sample", "variations": [{"name": "a", "look": "green"}]}, "yellow_tan"),
        ({"ct": "sample", "variations": [{"name": "a"}, {"name": "a"}]}, "two variations"),
    ],
)
def test_mistakes_are_one_line_that_names_the_key(values, words):
    assert words in refusal(**values)


def test_paths_stay_private():
    config = configure(ct="/clinic/MUELLER_HANS/ct", series="1.2.3.4")
    stored = json.dumps(config.public())
    assert "MUELLER" not in stored
    assert "1.2.3.4" not in stored
    assert config.public()["ct"] == [{"alias": "p001", "source": "file", "region": None}]


def test_a_table_of_a_phase_function_is_kept_and_its_path_is_not(tmp_path):
    file = tmp_path / "MUELLER_HANS.txt"
    file.write_text("-1 1\n0 1\n1 5\n")
    tissue = {"phase": {"type": "tabulated", "file": str(file)}}
    config = configure(ct="sample", variations=[{"name": "a", "look": "deep_red", "tissue": tissue}])
    stored = json.dumps(config.public())
    assert "MUELLER" not in stored
    drawn = draw(config.variations[0], config.light, np.random.default_rng(0))
    assert "MUELLER" not in json.dumps(drawn)
    assert drawn["tissue"]["phase"] == {"type": "tabulated", "cos_theta": [-1, 0, 1], "values": [1, 1, 5]}
    file.unlink()
    again = configure(ct="sample", variations=json.loads(stored)["variations"])
    assert fingerprint(again.public()) == fingerprint(config.public())


def test_phase_parameters_reach_a_frame():
    tissue = {"phase": {"type": "double_hg", "g1": 0.8}, "phase_parameters": {"w": [0, 0.5, 1, 1]}}
    config = configure(ct="sample", variations=[{"name": "a", "look": "deep_red", "tissue": tissue}])
    drawn = draw(config.variations[0], config.light, np.random.default_rng(0))
    assert drawn["tissue"]["phase_parameters"] == {"w": [0, 0.5, 1, 1]}
    assert drawn["tissue"]["phase"]["g1"] == 0.8
    tissue["phase_parameters"]["w"][0] = 2
    assert "less than or equal to 1" in refusal(
        ct="sample", variations=[{"name": "a", "look": "deep_red", "tissue": tissue}]
    )


def test_the_file_of_a_light_is_recorded_by_content_and_given_again_to_resume(tmp_path, monkeypatch):
    path = tmp_path / "MUELLER_ward.exr"
    exr.write(path, {c: np.full((4, 8), 0.5, np.float32) for c in "RGB"}, {})
    dim = {"name": "dim", "look": "deep_red", "light": {"type": "envmap", "file": str(path), "scale": 0.5}}
    config = configure(ct="phantom:1", light=f"envmap:file={path}", variations=[dim])
    told = json.dumps(config.public())
    assert "MUELLER" not in told
    assert told.count("sha256:") == 2
    drawn = draw(config.columns[0], config.light, np.random.default_rng(0))
    assert lights.build(drawn["light"]).environment().max() == 0.25

    (tmp_path / "dataset.json").write_text(json.dumps(describe(config)))
    monkeypatch.setattr(maps, "_by_content", {})  # as in another process
    assert "give the file again" in refusal(begun=tmp_path)
    again = configure(begun=tmp_path, light=f"envmap:file={path}")
    assert fingerprint(again.public()) == fingerprint(config.public())


def test_a_variation_may_have_a_light_of_another_type():
    own = Variation(
        name="sky", look="deep_red", light={"type": "envmap", "map": "studio", "rotation": {"uniform": [0, 9]}}
    )
    light = draw(own, {"type": "endoscope", "intensity": 3.0}, np.random.default_rng(0))["light"]
    assert (light["type"], light["map"]) == ("envmap", "studio")
    assert 0 < light["rotation"][2] < 9
    warm = Variation(name="warm", look="deep_red", light={"temperature": 3000})
    light = draw(warm, {"type": "endoscope", "intensity": 3.0}, np.random.default_rng(0))["light"]
    assert (light["intensity"], light["temperature"]) == (3.0, 3000)


def test_fingerprint_sees_every_key_and_no_order():
    base = configure(ct="phantom:1")
    assert fingerprint(base.public()) == fingerprint(dict(reversed(base.public().items())))
    changes = [
        {"spp": 65},
        {"seed": 1},
        {"camera": "pinhole:fov=99"},
        {"ct": "phantom:2"},
        {"denoise": False},
        {"noise": 0.1},
    ]
    prints = {fingerprint(configure(**{"ct": "phantom:1", **c}).public()) for c in [{}, *changes]}
    assert len(prints) == len(changes) + 1


class Dull(Coat):
    """Mirrors little."""

    share: float = Field(0.5, ge=0, le=1)


@pytest.fixture
def dull():
    with registered(coats, "dull", Dull):
        yield {"type": "dull", "share": 0.2}


def test_a_coat_is_chosen_like_a_light(dull, tmp_path):
    (tmp_path / "c.yaml").write_text("ct: sample\ncoat: {type: dull, share: 0.2}\n")
    chosen = [configure(ct="sample", coat="dull:share=0.2"), configure(tmp_path / "c.yaml")]
    assert [c.coat for c in chosen] == [dull] * 2
    assert chosen[0].public()["coat"] == dull
    assert RenderConfig(**{**chosen[0].public(), "ct": ["sample"]}) == chosen[0]
    volume = Volume(np.zeros((3, 3, 3), np.int16), np.eye(4))
    scene = outline(chosen[0], chosen[0].ct[0], volume, np.eye(4))
    assert scene.coat == Dull(share=0.2)
    view = View(chosen[0], "p001", 0, {}, scene, np.zeros((3, 3, 3), np.uint8))
    shot = Shot("dark_red", scene, {"response": {"exposure": 1.0}}, np.ones((240, 320, 3), np.float32), {})
    assert _negative(view, shot, None, np.ones((240, 320), np.float32)).row["scene"]["coat"] == dull
    for given, words in (
        ({"coat": "dul"}, "did you mean 'dull'"),
        ({"coat": "dull:share=2"}, "share: input should be less than or equal to 1"),
        ({"coat": "dull", "surface": "volume"}, "coat: a coat lies on a surface"),
    ):
        assert words in refusal(ct="sample", **given)
    assert configure(ct="sample", surface="volume").coat == {"type": "wet_ggx"}


def test_what_has_the_first_coat_is_as_before_there_were_several(dull):
    """Datasets of then go on; another coat is another configuration, and no later version's."""
    plain = configure(ct="sample")
    assert "coat" not in plain.public()
    assert fingerprint(configure(ct="sample", coat="wet_ggx").public()) == fingerprint(plain.public())
    assert fingerprint(configure(ct="sample", coat="dull").public()) != fingerprint(plain.public())


def test_difference_names_what_changed():
    said = {"ct": "sample", "preset": "paper4"}
    old, new = configure(**said).public(), configure(**said, spp=16, camera="pinhole:fov=90").public()
    assert difference(old, new) == ["spp: 64 -> 16", "camera.fov: 100.0 -> 90.0"]
    assert difference(old, old) == []


def test_splits_by_rule():
    names = [f"p{n:03d}" for n in range(1, 11)]
    assert by_rule(names[:1]) == {"train": ("p001",), "val": (), "test": ()}
    assert by_rule(names[:2]) == {"train": ("p001",), "val": (), "test": ("p002",)}
    assert by_rule(names[:3]) == {"train": ("p001",), "val": ("p002",), "test": ("p003",)}
    ten = by_rule(names)
    assert [len(ten[s]) for s in ("train", "val", "test")] == [6, 2, 2]
    assert [alias for s in ten.values() for alias in s] == names


def test_yaml_is_read_safely(tmp_path):
    for text, words in [
        ("a: 1\na: 2\n", "given twice"),
        ("b: {c: 1, c: 2}", "given twice"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        (
            "a: &a [x]\n"
            + "".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}' if n else '*a'] * 9)}]\n" for n in range(9)),
            "alias",
        ),
        ("a: &a [*a]", "alias"),
        ("[" * 3000, "nested"),
        ("a: [1", "line"),
        ("- 1", "key: value"),
        ("1: 2", "words"),
    ]:
        file = tmp_path / "c.yaml"
        file.write_text(text)
        with pytest.raises(UserError, match=words) as error:
            read_yaml(file)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="No such file"):
        read_yaml(tmp_path / "none.yaml")
    assert parse_yaml("a: &x {b: 1}\nc: *x", "t") == {"a": {"b": 1}, "c": {"b": 1}}


def test_draw_is_pure_and_records_what_it_drew():
    light = configure(ct="sample").light
    v = Variation(
        name="warm", look="deep_red", light={"intensity": {"uniform": [500, 1500]}}, response={"contrast": 1.2}
    )
    one, two = (draw(v, light, np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert 500 <= one["light"]["intensity"] <= 1500
    assert one["response"]["contrast"] == 1.2
    assert one["tissue"]["type"] == "deep_red"
    other = draw(v, light, np.random.default_rng(6))
    assert other["light"]["intensity"] != one["light"]["intensity"]
    json.dumps(one, allow_nan=False)


def test_presets():
    assert [v.name for v in PRESETS["paper4"]] == ["synthetic", "yellow_tan", "pale_pink", "dark_red", "deep_red"]
    assert [v.look for v in PRESETS["synthetic"]] == [None]
    for columns in PRESETS.values():
        for v in columns:
            assert ("tissue" in draw(v, {"type": "endoscope"}, np.random.default_rng(0))) == (v.look is not None)


def test_seeds_depend_on_the_names_alone():
    assert seed_of(0, "p001", 3, "deep_red") == seed_of(0, "p001", 3, "deep_red")
    many = {seed_of(0, p, v, n) for p in ("p001", "p002") for v in range(50) for n in ("a", "b")}
    assert len(many) == 200
    assert all(0 <= s < 2**31 for s in many)


def test_defaults_are_valid():
    assert RenderConfig(ct=["sample"]).width == 320


def test_every_patient_has_vessels_of_their_own():
    config = configure(ct=["phantom:1", "phantom:2"], mucosa="procedural:film=0.2")
    one, two = (_mucosa(config, p) for p in config.ct)
    assert one.film == two.film == 0.2
    assert one.seed != two.seed
    assert _mucosa(config, config.ct[0]) == one
    assert _mucosa(configure(ct="sample", mucosa="none"), config.ct[0]) is None


def test_tissues_by_label_are_written_as_flags_or_in_yaml(tmp_path):
    flags = configure(
        ct=["sample"], labels=("m.nii",), label_tissue=("2=deep_red", "3=custom:wall_hu=60,roughness=0.2")
    )
    file = tmp_path / "c.yaml"
    file.write_text(
        "ct: sample\nlabels: m.nii\nlabel_tissue: {2: deep_red, 3: {type: custom, wall_hu: 60, roughness: 0.2}}\n"
    )
    assert configure(file) == flags
    assert flags.label_tissue[3]["wall_hu"] == 60
    told = json.dumps(flags.public())
    assert "m.nii" not in told
    assert flags.public()["ct"][0]["labels"] == "file"
    assert "labels" not in configure(ct="sample").public()["ct"][0]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"labels": ["a", "b"]}, "2 masks for 1 CTs"),
        ({"labels": "a"}, "need each other"),
        ({"label_tissue": {1: "deep_red"}}, "need each other"),
        ({"labels": "a", "label_tissue": ("deep_red",)}, "LABEL=TISSUE"),
        ({"labels": "a", "label_tissue": {0: "deep_red"}}, "from 1 to 255, got 0"),
        ({"labels": "a", "label_tissue": {1: "red"}}, "no tissue is called 'red'"),
        (
            {"labels": "a", "label_tissue": {1: {"type": "custom", "phase": "isotropic"}}},
            "phase is isotropic, beside hg",
        ),
        ({"labels": "a", "label_tissue": {1: {"type": "custom", "similarity_after": 3}}}, "similarity_after must be"),
    ],
)
def test_labels_that_cannot_be_are_one_line(values, words):
    with pytest.raises(UserError, match=words) as error:
        configure(ct="sample", **values)
    assert "\n" not in str(error.value)


def test_what_a_patient_was_begun_with_is_taken_up_again(tmp_path):
    """Region and phase of single patients: without them --resume would find another configuration."""
    begun = configure(ct=[{"ct": "phantom:1", "alias": "a", "phase": 2, "region": 3}, {"ct": "sample", "alias": "b"}])
    (tmp_path / "dataset.json").write_text(json.dumps(describe(begun)))
    again = configure(begun=tmp_path)
    assert again.ct == begun.ct
    assert again.public() == begun.public()
