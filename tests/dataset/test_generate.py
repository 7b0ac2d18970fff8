"""From a CT file to a finished dataset, with the real lumen, poses and renderer."""

import json

import numpy as np
import pytest

from endorender import engine
from endorender.ct.volume import Volume
from endorender.dataset import configure, exr, generate, open_dataset
from endorender.dataset.patient import volume_hash
from endorender.dataset.verify import verify
from endorender.errors import Notice, UserError
from endorender.scene import Response, cameras
from tests.dataset.made import contents
from tests.dataset.tubes import configuration, tube

LOOKS = ["yellow_tan", "pale_pink", "dark_red", "deep_red"]


@pytest.fixture(scope="module")
def ct(tmp_path_factory):
    return tube(tmp_path_factory.mktemp("MUELLER_HANS") / "ct.nii.gz")


@pytest.fixture(scope="module")
def data(ct, tmp_path_factory):
    return generate(configuration(ct), tmp_path_factory.mktemp("out") / "data")


def test_every_frame_is_there_with_what_made_it(data):
    dataset = open_dataset(data)
    assert dataset.complete
    assert dataset.info["configuration"]["device"] == "cpu"
    assert dataset.info["generator"]["engine"] == {"name": engine.NAME, "version": engine.VERSION}
    assert {frame.engine for frame in dataset.frames} == {f"{engine.NAME} {engine.VERSION}"}
    assert [f.variation for f in dataset.frames] == ["synthetic", *LOOKS] * 2
    for frame in dataset.frames:
        assert frame.image().shape == (18, 24, 3)
        assert frame.parameters["response"]["exposure"] > 0
        assert np.allclose(np.linalg.det(np.array(frame.world_from_camera)[:3, :3]), 1)
        assert frame.scene["scope"] == {"type": "cf-hq190l", "diameter": 13.2, "rigid": 10.0}, "the widest that fits"
        if frame.variation == "synthetic":
            assert (frame.spp, frame.traced_with) == (0, ())
        else:
            assert (frame.spp, list(frame.traced_with)) == (2, LOOKS)
            assert frame.parameters["tissue"]["type"] == frame.variation
    seeds = {frame.view: frame.seed for frame in dataset.select(variations=["deep_red"])}
    assert seeds[0] != seeds[1]


def test_one_geometry_per_view_that_fits_the_camera(data):
    dataset = open_dataset(data)
    for view in (0, 1):
        frames = [f for f in dataset.frames if f.view == view]
        assert len({f.files["geometry"].path for f in frames}) == 1
        g = frames[0].geometry()
        assert g["mask"].mean() > 0.9
        assert np.array_equal(np.isfinite(g["z_depth"]), g["mask"])
        # distance = z-depth / cosine of the pixel's angle, by the K of the manifest alone
        k = np.array(frames[0].K)
        v, u = np.mgrid[:18, :24]
        ray = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((18, 24))], -1)
        assert np.allclose(g["distance"], g["z_depth"] * np.linalg.norm(ray, axis=-1), rtol=1e-4, equal_nan=True)
        assert ((g["normal"] * ray).sum(-1)[g["mask"]] < 0).all()
        assert np.allclose(np.linalg.norm(g["normal"], axis=-1)[g["mask"]], 1, atol=1e-4)


def test_depth_lands_on_the_tube(data):
    for frame in open_dataset(data).select(variations=["synthetic"]):
        g, k, pose = frame.geometry(), np.array(frame.K), np.array(frame.world_from_camera)
        v, u = np.mgrid[:18, :24]
        ray = np.stack([(u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones((18, 24))], -1)
        points = ((ray * g["z_depth"][..., None]) @ pose[:3, :3].T + pose[:3, 3])[g["mask"]] - (5, -7, 30)
        side = points[(points[:, 2] > 3) & (points[:, 2] < 76)]
        off = np.hypot(side[:, 0] - 21.5 - 6 * np.sin(side[:, 2] / 20), side[:, 1] - 21.5) - 9.0
        threshold = frame.scene["threshold_hu"]
        assert np.median(np.abs(off - (threshold + 470) / 700)) < 0.1


def test_exr_layers(data):
    frame = open_dataset(data).select(variations=["pale_pink"])[0]
    channels, header = exr.read(frame.path("radiance"))
    assert set(channels) == {*"RGB", *(f"{n}.{c}" for n in ("albedo", "variance") for c in "RGB")}
    assert all(c.dtype == np.float16 for c in channels.values())
    assert header["spp"] == 2
    assert header["seed"] == str(frame.seed)
    assert json.loads(header["K"]) == [list(r) for r in frame.K]
    assert json.loads(header["worldFromCamera"]) == [list(r) for r in frame.world_from_camera]
    _, header = exr.read(frame.path("geometry"))
    assert header["units"] == "mm"
    assert "threshold" in header["depthDefinition"]


def test_nothing_of_the_patient_is_in_the_output(data, ct):
    for name, raw in contents(data).items():
        assert b"MUELLER" not in raw, name
        assert ct.name.encode() not in raw, name
        assert str(data.parent).encode() not in raw, name


def test_a_single_frame_comes_out_the_same(data, ct, tmp_path):
    name = "p001/0001/dark_red"
    alone = generate(configuration(ct), tmp_path / "alone", only=name)
    assert [f.id for f in open_dataset(alone).frames] == [name]
    assert not open_dataset(alone).complete
    for file in (f"{name}.exr", f"{name}.png", "p001/0001/geometry.exr"):
        assert (alone / file).read_bytes() == (data / file).read_bytes(), file
    before = contents(data)
    generate(configuration(ct), data, only=name)
    assert contents(data) == before
    with pytest.raises(UserError, match="p001/0000/synthetic"):
        generate(configuration(ct), data, only="p009/0000/synthetic")


def test_interrupted_and_resumed_it_has_the_same_bytes(data, ct, tmp_path):
    seen = []

    def interrupt(done, total, text):
        seen.append(done)
        if done >= 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate(configuration(ct), tmp_path / "data", progress=interrupt)
    assert 1 <= len(open_dataset(tmp_path / "data").frames) < 10
    (tmp_path / "data" / "p001" / "0000" / "synthetic.png").unlink()
    generate(configuration(ct), tmp_path / "data", resume=True)
    assert contents(tmp_path / "data") == contents(data)
    assert seen == sorted(seen)


def test_a_dataset_knows_its_configuration_but_for_the_paths(data, ct):
    assert configure(begun=data, ct=[str(ct)]) == configuration(ct)
    assert configure(begun=data, ct=[str(ct)], spp=9).spp == 9
    for given, words in [(None, "with --ct"), (["a", "b"], "1 CTs")]:
        with pytest.raises(UserError, match=words):
            configure(begun=data, ct=given)
    assert configure(begun=data / "none", ct="sample").views == 8


def test_a_dataset_of_an_earlier_version_is_told_apart_from_other_options(ct, tmp_path):
    """An option that is newer than a dataset stands in no configuration of it, and none typed brings that about."""
    config = configuration(ct, views=2, preset="synthetic")
    root = generate(config, tmp_path / "out")
    told = json.loads((root / "dataset.json").read_text())
    del (
        told["configuration"]["boundary"],
        told["configuration"]["scope"],
        told["configuration"]["camera"]["mask_corner"],
    )
    told["fingerprint"] = "another"
    (root / "dataset.json").write_text(json.dumps(told))
    before = contents(root)
    with pytest.raises(UserError, match="earlier endorender, which had no boundary, scope: finish it with that one"):
        generate(config, root, resume=True)
    assert contents(root) == before
    assert len(open_dataset(root).frames) == 2


def test_another_ct_under_the_same_alias_is_refused(data, tmp_path):
    other = tube(tmp_path / "other.nii.gz", radius=8)
    (data / "p001" / "0000" / "deep_red.png").rename(tmp_path / "kept.png")
    with pytest.raises(UserError) as error:
        generate(configuration(other), data, resume=True)
    assert error.value.code == "CT_CHANGED"
    assert "other.nii" not in str(error.value)
    (tmp_path / "kept.png").rename(data / "p001" / "0000" / "deep_red.png")


SCOPED = {
    "size": "30x24",
    "camera": "scaramuzza:mask=octagon,vignetting=1.5",
    "depth": "median,expected",
    "response": "full_well=2000,read_noise=5,jpeg_quality=90",
    "views": 1,
    "scope": "none",  # a view whose middle is not the tube's end, where tissue is but 2 mm thick
}


@pytest.fixture(scope="module")
def scoped(ct, tmp_path_factory):
    """Through an endoscope's own camera, with every depth, a noisy sensor and JPEG."""
    config = configuration(ct, **SCOPED)
    return generate(config, tmp_path_factory.mktemp("out") / "scoped")


def test_a_calibrated_camera_in_a_dataset(scoped):
    dataset = open_dataset(scoped)
    for frame in dataset.frames:
        camera = cameras.build(frame.camera)
        visible = camera.visible()
        assert np.allclose(frame.K, camera.K)
        g = frame.geometry()
        assert not g["mask"][~visible].any()
        assert g["mask"].any()
        # The manifest's camera alone gives the rays: z-depth is the distance's share along the axis.
        z = camera.unproject(camera.pixels())[..., 2]
        np.testing.assert_allclose(g["z_depth"], g["distance"] * z, rtol=1e-5)
        assert (frame.radiance()[~visible] == 0).all()
        # JPEG blurs the rim of the border; away from it the border stays black.
        assert frame.image()[0, 0].max() < 16
        assert frame.image()[visible].mean() > 30


def test_what_is_stored_gives_the_picture_again(ct, tmp_path):
    """By the manifest's response, radiance and depth; without its lens it is another picture."""
    lens = "vignette=0.6,focus=8,aperture=0.5"
    changes = {**SCOPED, "preset": "synthetic", "depth": "surface", "response": lens}
    for frame in open_dataset(generate(configuration(ct, **changes), tmp_path / "data")).frames:
        response = Response(**frame.parameters["response"])
        assert (response.vignette, response.aperture) == (0.6, 0.5)
        light = (frame.radiance(), None, cameras.build(frame.camera).visible(), frame.geometry()["z_depth"])
        again = response.apply(*light, frame.K[0][0]).astype(int)
        assert np.abs(again - frame.image()).max() <= 1  # radiance is stored in half floats
        lensless = response.model_copy(update={"vignette": 0, "aperture": 0}).apply(*light)
        assert np.abs(lensless.astype(int) - frame.image()).max() > 20


def test_depths_of_the_tissue_lie_with_the_variation(scoped):
    dataset = open_dataset(scoped)
    for frame in dataset.frames:
        surface = frame.depth()
        np.testing.assert_array_equal(surface["distance"], frame.geometry()["distance"])
        if frame.variation == "synthetic":
            with pytest.raises(UserError, match="holds no median depth"):
                frame.depth("median")
            continue
        valid = frame.geometry()["mask"]
        for name, behind in (("median", np.log(2) / 3), ("expected", 1 / 3)):
            depth = frame.depth(name)
            assert depth["distance"].dtype == np.float32
            off = (depth["distance"] - surface["distance"])[valid]
            assert np.nanmedian(off) == pytest.approx(behind, abs=1e-3)
            assert np.isnan(depth["z_depth"][~valid]).all()
        assert frame.scene["surface_to_median_voxels"] == pytest.approx(np.log(2) / 3, abs=1e-3)
        assert frame.scene["boundary"] == "straight"


def test_noise_of_the_picture_is_the_same_again(scoped, ct, tmp_path):
    config = configuration(ct, **SCOPED)
    name = "p001/0000/dark_red"
    alone = generate(config, tmp_path / "alone", only=name)
    for file in (f"{name}.exr", f"{name}.png"):
        assert (alone / file).read_bytes() == (scoped / file).read_bytes(), file


def test_a_depth_that_misleads_is_said(ct, tmp_path):
    thin = {"name": "thin", "look": "pale_pink", "tissue": {"sigma_t": [0, 0.5, 0.5, 0.5]}}
    with pytest.warns(Notice, match="thin half of the light ends more than 0.5 voxels") as said:
        generate(configuration(ct, variations=[thin], views=1), tmp_path / "data")
    assert "\n" not in str(said[0].message)
    frame = open_dataset(tmp_path / "data").frames[0]
    assert frame.scene["surface_to_median_voxels"] == pytest.approx(np.log(2) / 0.5, abs=0.01)


def test_paths_cut_off_are_said(ct, tmp_path, monkeypatch):
    from endorender.render.transport import film

    monkeypatch.setattr(film, "CUT_LIMIT", -1.0)
    look = {"name": "pale", "look": "pale_pink"}
    with pytest.warns(Notice, match=r"pale 0.0% of the light paths were cut off after 10000 scatterings") as said:
        generate(configuration(ct, variations=[look], views=1), tmp_path / "data")
    assert "\n" not in str(said[0].message)
    assert open_dataset(tmp_path / "data").frames[0].scene["paths_cut"] == 0


def test_light_beyond_what_a_file_holds_is_said_and_found(ct, tmp_path):
    pale, light = {"name": "pale", "look": "pale_pink"}, "endoscope:intensity=1e30"
    config = configuration(ct, variations=[pale], views=1, light=light)
    with pytest.warns(Notice, match=r"in pale \d+ of \d+ pixels are brighter than 65504 and held there") as said:
        generate(config, tmp_path / "data")
    assert "\n" not in str(said[0].message)
    assert ("VALUES", "p001/0000/pale.exr") in [(f.code, f.where) for f in verify(tmp_path / "data")]


@pytest.mark.parametrize(("surface", "sigma"), [("interface", 1e39), ("volume", 1e9)])
def test_extinction_that_no_voxel_resolves_ends_in_one_line(ct, tmp_path, surface, sigma):
    dense = {"name": "dense", "look": "pale_pink", "tissue": {"sigma_t": [0, sigma, sigma, sigma]}}
    with pytest.raises(UserError, match="mean free paths to a voxel") as error:
        generate(configuration(ct, variations=[dense], views=1, surface=surface), tmp_path / "data")
    assert error.value.code == "TOO_DENSE"
    assert "\n" not in str(error.value)


def test_seed_changes_poses_and_noise(data, ct, tmp_path):
    other = open_dataset(generate(configuration(ct, seed=4, preset="synthetic"), tmp_path / "data"))
    assert other.info["variations"] == ["synthetic"]
    assert other.frames[0].world_from_camera != open_dataset(data).frames[0].world_from_camera


def test_volume_hash_sees_values_and_place():
    hu = np.zeros((3, 4, 5), np.int16)
    base = volume_hash(Volume(hu, np.eye(4)))
    assert base == volume_hash(Volume(np.asfortranarray(hu), np.eye(4)))
    assert base != volume_hash(Volume(hu + np.int16(1), np.eye(4)))
    assert base != volume_hash(Volume(hu, np.diag([1, 1, 2.0, 1])))
