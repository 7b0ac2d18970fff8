"""Anybody's pictures with depth: any naming, any unit, and the missing one named."""

import numpy as np
import pytest
from PIL import Image

from endorender.dataset import exr
from endorender.dataset.layouts import export, open_data, open_layout
from endorender.errors import UserError
from tests.training.conftest import tubes
from training.evaluate import evaluate
from training.trainer import train

RNG = np.random.default_rng(0)
DEPTH = RNG.uniform(5, 60, (3, 12, 16)).astype(np.float32)
PICTURES = RNG.integers(0, 255, (3, 12, 16, 3)).astype(np.uint8)


def filled(root, image, depth, save, people=("MUELLER_HANS",)):
    """Folders of three frames each. image, depth: names with {n}; save(path, z-depth in mm)."""
    for person in people:
        for n in range(3):
            for name in (image, depth):
                (root / name.format(person=person, n=n)).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(PICTURES[n]).save(root / image.format(person=person, n=n))
            save(root / depth.format(person=person, n=n), DEPTH[n])


def png16(scale):
    return lambda path, z: Image.fromarray(np.round(z * scale).astype(np.uint16)).save(path)


def tiff(path, z):
    import tifffile

    tifffile.imwrite(path, z / 1000)


@pytest.mark.parametrize(
    ("image", "depth", "save", "spec", "quantum"),
    [
        ("rgb/{n}.png", "depth/{n}.png", png16(256), "pairs:scale=256", 0.002),
        ("rgb/{n:05d}.jpg", "depth/{n:05d}.png", png16(100), "pairs:scale=1000,unit=cm", 0.006),
        (
            "a/{n}_colour.png",
            "a/{n}_depth.tiff",
            tiff,
            "pairs:images=a/*_colour.png,depths=a/*_depth.tiff,unit=m",
            1e-5,
        ),
        ("rgb/{n}.png", "z/{n}.npy", np.save, "pairs:depths=z/*.npy", 0),
        ("rgb/img{n:04d}.png", "z/d_{n}.npy", np.save, "pairs:depths=z/*.npy", 0),
        ("rgb/{n}.png", "z/{n}.exr", lambda p, z: exr.write(p, {"Z": z}, {}), "pairs:depths=z/*.exr", 0),
        ("{person}/rgb/{n}.png", "{person}/d/{n}.npy", np.save, "pairs:images=*/rgb/*.png,depths=*/d/*.npy", 0),
    ],
)
def test_any_naming_unit_and_file_reads_the_same_depth(tmp_path, image, depth, save, spec, quantum):
    filled(tmp_path, image, depth, save)
    data = open_data(f"{spec}@{tmp_path}")
    assert [f.id for f in data.frames] == [f"p001/{n:04d}/pairs" for n in range(3)]
    for n, frame in enumerate(data.frames):
        assert frame.K is None
        assert frame.world_from_camera is None
        geometry = frame.geometry()
        assert set(geometry) == {"z_depth", "mask"}
        assert geometry["mask"].all()
        np.testing.assert_allclose(geometry["z_depth"], DEPTH[n], atol=quantum + 1e-5)
        if not image.endswith("jpg"):
            assert np.array_equal(frame.image(), PICTURES[n])
    assert "MUELLER" not in repr([(f.id, f.patient) for f in data.frames])


def test_what_is_no_depth_is_invalid_and_intrinsics_give_distance(tmp_path):
    filled(tmp_path, "rgb/{n}.png", "depth/{n}.npy", np.save)
    z = DEPTH[0].copy()
    z[0, :4] = 0, np.nan, np.inf, 42
    np.save(tmp_path / "depth/0.npy", z)
    frame = open_layout(tmp_path, "pairs:invalid=[0,42],fx=20,cx=7.5,cy=5.5").frames[0]
    geometry = frame.geometry()
    assert not geometry["mask"][0, :4].any()
    assert geometry["mask"].sum() == z.size - 4
    assert frame.K == ((20, 0, 7.5), (0, 20, 5.5), (0, 0, 1))
    assert geometry["distance"][11, 15] == pytest.approx(z[11, 15] * np.sqrt(1 + (7.5 / 20) ** 2 + (5.5 / 20) ** 2))
    assert open_layout(tmp_path, "pairs:fov=90").frames[0].K[0][0] == pytest.approx(8)


def test_every_folder_of_pictures_is_a_patient(tmp_path):
    filled(tmp_path, "{person}/{n}.png", "{person}/{n}.npy", np.save, ("ZZ_ANNA", "MUELLER_HANS"))
    data = open_layout(tmp_path, "pairs:images=*/*.png,depths=*/*.npy")
    assert data.info["patients"] == ["p001", "p002"]
    assert [f.view for f in data.frames] == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(
    ("spec", "break_it", "words"),
    [
        ("pairs", lambda root: (root / "depth/1.npy").unlink(), "no depth belongs to the picture 1.png, nor to 0 more"),
        ("pairs", lambda root: (root / "rgb/2.png").unlink(), "no picture belongs to the depth 2.npy"),
        ("pairs:depths=z/*", lambda root: None, "no depth is called z/* below the folder"),
        ("pairs:images=../*", lambda root: None, "pattern with a *"),
        ("pairs:unit=inch", lambda root: None, "unit"),
        ("pairs", lambda root: (root / "depth/0.npy").write_bytes(b"half"), "0.npy is missing or cannot be read"),
        ("pairs", lambda root: np.save(root / "depth/0.npy", np.zeros((2, 2, 3))), "one number a pixel"),
        ("pairs", lambda root: (root / "depth/0.npy").rename(root / "depth/0.gif"), "no depth that can be read"),
    ],
)
def test_mistakes_name_what_is_missing(tmp_path, spec, break_it, words):
    filled(tmp_path, "rgb/{n}.png", "depth/{n}.npy", np.save)
    break_it(tmp_path)
    with pytest.raises(UserError) as refusal:
        open_layout(tmp_path, spec).frames[0].geometry()
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_network_is_judged_on_pairs_and_nothing_is_exported_as_them(tmp_path):
    filled(tmp_path / "data", "rgb/{n}.png", "depth/{n}.npy", np.save)
    run = train({"model": {"type": "unet", "width": 8, "levels": 2}, "steps": 2, "batch": 4}, tmp_path / "run", tubes())
    out = evaluate(run, f"pairs@{tmp_path / 'data'}", tmp_path / "out")
    assert (out / "by_radius.csv").read_text().count("\n") > 5
    assert (out / "by_incidence.csv").read_text().count("\n") == 1  # the header alone: no ray is known
    with pytest.raises(UserError, match="only read") as refusal:
        export(tubes(), "pairs", tmp_path / "x")
    assert refusal.value.code == "NO_WRITER"
