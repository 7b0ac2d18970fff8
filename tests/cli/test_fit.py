"""`endorender fit`: from photographs to a preset that `render` takes; mistakes in one line; nothing tells a name."""

import importlib
import json
import re

import numpy as np
import pytest
import yaml
from PIL import Image

from endorender.dataset import configure, generate, open_dataset
from endorender.errors import Notice
from endorender.inverse.photographs import lens_of, read_poses, wall_of
from endorender.render import geometry
from tests.cli.test_main import mistake, run
from tests.ct.made import CANARY
from tests.dataset.tubes import tube
from tests.pages import faults

fits = importlib.import_module("endorender.inverse.fit")  # the package's name is the function's
QUICK = ("--steps", 2, "--spp", 4, "--repeats", 0, "--size", 16, "--views", 2)


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A CT and photographs from known poses, all in a folder that tells a name."""
    root = tmp_path_factory.mktemp(CANARY)
    ct = tube(root / f"{CANARY}.nii.gz")
    values = {"ct": str(ct), "views": 2, "size": "32x24", "spp": 16, "seed": 3, "mucosa": "none"}
    made = generate(configure(**values, variations=[{"name": "clinic", "look": "dark_red"}]), root / "made")
    frames = open_dataset(made).frames
    photos = root / "photographs"
    photos.mkdir()
    for n, frame in enumerate(frames):
        Image.fromarray(frame.image()).save(photos / f"{CANARY}_{n}.png")
    poses = [np.array(f.world_from_camera).tolist() for f in frames]
    (root / "poses.json").write_text(json.dumps(poses))
    (root / "camera.yaml").write_text(yaml.safe_dump({"size": "32x24", "camera": {"type": "pinhole", "fov": 100.0}}))
    return root


def arguments(clinic, out, *more):
    return ("fit", "--ct", clinic / f"{CANARY}.nii.gz", "--images", clinic / "photographs", "--camera",
            clinic / "camera.yaml", "--out", out, *more)  # fmt: skip


def nothing_told(folder):
    for file in folder.iterdir():
        if file.is_file():
            assert CANARY.encode() not in file.read_bytes(), file.name


def test_with_poses_and_the_result_is_a_preset_of_render(clinic, tmp_path):
    out = tmp_path / "tissue.yaml"
    result = run(*arguments(clinic, out, "--poses", clinic / "poses.json", *QUICK))
    assert result.exit_code == 0, result.output
    assert CANARY not in result.output
    assert "compared pixel by pixel" in result.output
    assert "the light keeps its strength" in result.output
    names = {f.name for f in tmp_path.iterdir()}
    assert names == {"tissue.yaml", "tissue.html", "tissue.before_after.png", "tissue.loss.png", "tissue.json"}
    told = (tmp_path / "tissue.html").read_text()
    assert "fitted to 2 photographs" in told
    assert '<th scope="row">tissue.albedo[40 HU].red</th>' in told
    assert told.count('src="data:image/png;base64,') == 2
    assert not re.search(r"https?://|url\(|@import", told)  # nothing is loaded
    assert faults(tmp_path / "tissue.html") == []
    nothing_told(tmp_path)
    for name in ("tissue.before_after.png", "tissue.loss.png"):
        with Image.open(tmp_path / name) as image:
            assert image.size[0] > 400
    facts = json.loads((tmp_path / "tissue.json").read_text())
    told = {row["parameter"]: row for row in facts["parameters"]}
    assert all(row["low"] <= row["value"] <= row["high"] for row in told.values())
    assert not told["tissue.albedo[-800 HU].red"]["observable"]  # of air nothing is seen
    assert "response.exposure[picture 2]" in told
    done = run("render", "--config", out, "--ct", clinic / f"{CANARY}.nii.gz", "--views", 1, "--spp", 1, "--out",
               tmp_path / "frames")  # fmt: skip
    assert done.exit_code == 0, done.output
    frame = open_dataset(tmp_path / "frames").frames[0]
    assert frame.variation == "fitted"
    tissue = frame.parameters["tissue"]
    assert tissue["roughness"] == pytest.approx(told["tissue.roughness"]["value"], rel=1e-3)
    assert tissue["albedo"][1][0] == pytest.approx(told["tissue.albedo[40 HU].red"]["value"], rel=1e-3)
    assert frame.image().shape == (24, 32, 3)
    smaller = run("render", "--config", out, "--ct", "phantom:1", "--views", 1, "--spp", 1, "--size", "16x12", "--out",
                  tmp_path / "small")  # fmt: skip
    assert smaller.exit_code == 0, smaller.output


@pytest.mark.slow
def test_pose_takes_our_datasets_and_writes_refined_poses(clinic, tmp_path):
    made, out = clinic / "made", tmp_path / "tissue.yaml"
    manifest = made / "manifest.jsonl"
    result = run("fit", "--ct", clinic / f"{CANARY}.nii.gz", "--images", made, "--camera", manifest, "--poses",
                 manifest, "--pose", "--out", out, "--steps", 1, "--spp", 2, "--repeats", 0, "--size", 16, "--views",
                 1)  # fmt: skip
    assert result.exit_code == 0, result.output
    found, files = read_poses(tmp_path / "tissue.poses.json", made)
    given = [np.array(f.world_from_camera) for f in open_dataset(made).frames]
    assert found.shape == (2, 4, 4)
    assert files == []
    assert found[1] == pytest.approx(given[1])  # one photograph was asked for
    assert 0 < np.linalg.norm(found[0, :3, 3] - given[0][:3, 3]) < 8
    nothing_told(tmp_path)


def test_each_photograph_is_seen_by_its_own_camera(clinic, tmp_path, monkeypatch):
    """A dataset with a field of view for every view: pictures from the given poses are the photographs' shapes."""
    module = importlib.import_module("endorender.inverse.calibrate")
    values = {"ct": str(clinic / f"{CANARY}.nii.gz"), "views": 2, "size": "32x24", "spp": 1, "mucosa": "none"}
    camera = {"type": "pinhole", "fov": {"grid": [60, 110]}}
    made = generate(configure(**values, camera=camera, variations=[{"name": "clinic"}]), tmp_path / "made")
    manifest = made / "manifest.jsonl"
    fitted = {}

    def stop(scenes, *_, **__):
        fitted["scenes"] = scenes
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "fit", stop)
    with pytest.raises(KeyboardInterrupt):
        module.calibrate(values["ct"], made, manifest, manifest, size=32)
    for scene, frame in zip(fitted["scenes"], open_dataset(made).frames, strict=True):
        assert scene.camera.fov == frame.camera["fov"]
        assert geometry(scene).z_depth == pytest.approx(frame.geometry()["z_depth"], rel=1e-5, nan_ok=True)


def test_a_wall_that_fits_do_not_have_is_told(clinic, monkeypatch):
    """The adjoint has no refracting wall: what a dataset was rendered with is said before the fit and in its notes."""
    module = importlib.import_module("endorender.inverse.calibrate")
    made, told = clinic / "made", json.loads((clinic / "made" / "dataset.json").read_text())
    assert wall_of(made) == wall_of(made / "p001") == wall_of(clinic / "photographs") == ""
    monkeypatch.setitem(told["configuration"], "boundary", "refracting")
    (clinic / "bent" / "pictures").mkdir(parents=True)
    (clinic / "bent" / "dataset.json").write_text(json.dumps(told))
    assert wall_of(clinic / "bent") == "boundary refracting"
    rows = [json.loads(line) for line in (made / "manifest.jsonl").read_text().splitlines()]
    assert lens_of(made) == lens_of(clinic / "photographs") == ""
    rows[-1]["parameters"]["response"] |= {"vignette": 0.3, "aperture": 0.1}
    (clinic / "bent" / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert lens_of(clinic / "bent" / "pictures") == "vignette and defocus"
    (clinic / "bent" / "pictures" / "manifest.jsonl").write_text("[]\n")
    assert lens_of(clinic / "bent" / "pictures") == ""  # no manifest of ours
    (clinic / "bent" / "pictures" / "manifest.jsonl").unlink()
    for n, file in enumerate(sorted((clinic / "photographs").iterdir())):
        (clinic / "bent" / "pictures" / f"{n}.png").write_bytes(file.read_bytes())
    monkeypatch.setattr(module, "fit", lambda *_, **__: "found")
    with (
        pytest.warns(Notice, match="rendered with boundary refracting, and are fitted with a straight wall"),
        pytest.warns(Notice, match="developed with vignette and defocus"),
    ):
        done = module.calibrate(
            str(clinic / f"{CANARY}.nii.gz"), clinic / "bent" / "pictures", clinic / "camera.yaml",
            clinic / "poses.json", size=16,
        )  # fmt: skip
    assert "boundary refracting" in done.notes[0]
    assert "developed with vignette and defocus" in done.notes[1]


def test_an_exposure_that_is_known_is_kept(clinic, monkeypatch):
    """It is no start to be replaced by what first pictures suggest: where it is not fitted, albedo made up for it."""
    module = importlib.import_module("endorender.inverse.calibrate")
    taken = {}
    monkeypatch.setattr(module, "fit", lambda *_, exposures, **__: taken.update(exposures=exposures))
    arguments = str(clinic / f"{CANARY}.nii.gz"), clinic / "photographs", clinic / "camera.yaml", clinic / "poses.json"
    module.calibrate(*arguments, size=16, names=["tissue.albedo"])
    begun = taken["exposures"]
    module.calibrate(*arguments, size=16, names=["tissue.albedo"], response={"exposure": 3.5})
    assert 3.5 not in begun
    assert taken["exposures"] == [3.5, 3.5]


def test_without_poses_it_says_that_nothing_was_compared_place_by_place(clinic, tmp_path):
    out = tmp_path / "tissue.yaml"
    result = run(*arguments(clinic, out, *QUICK), "--json")
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts == json.loads((tmp_path / "tissue.json").read_text())
    assert "no poses" in facts["method"]
    assert "nothing was compared place by place" in out.read_text()
    nothing_told(tmp_path)


def test_a_fit_that_diverges_keeps_the_best(clinic, tmp_path, monkeypatch):
    monkeypatch.setattr(fits, "LOSSES", 1)
    monkeypatch.setattr(fits, "_looked", lambda *_: None)
    out = tmp_path / "tissue.yaml"
    line = mistake_after(arguments(clinic, out, *QUICK))
    assert "the fit diverged" in line
    assert "best parameters so far" in line
    assert "variations" in yaml.safe_load(out.read_text())


def mistake_after(args):
    """Exit code 2 with one line on stderr, after what was said on stdout."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    return result.stderr


def test_ctrl_c_keeps_the_best(clinic, tmp_path, monkeypatch):
    def pressed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(fits, "_looked", pressed)
    out = tmp_path / "tissue.yaml"
    result = run(*arguments(clinic, out, *QUICK))
    assert result.exit_code == 130, result.output
    assert "was interrupted: these are the best parameters so far" in result.output
    assert "variations" in yaml.safe_load(out.read_text())


def test_mistakes(clinic, tmp_path):
    out = tmp_path / "t.yaml"
    args = arguments(clinic, out)
    assert "--pose refines poses" in mistake(*args, "--pose")
    assert "no look is called" in mistake(*args, "--look", "blue")
    assert "cannot be fitted" in mistake(*args, "--parameters", "tissue.colour")
    assert "--spp must be at least 1" in mistake(*args, "--spp", 0)
    assert "only the product" in mistake(*args, "--parameters", "lights.0.intensity,response.exposure")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("{type: pinhole, fov: 90, width: 640, height: 480}")
    assert "calibrate at their size" in mistake(*args, "--camera", wrong)
    line = mistake(*args, "--poses", clinic / "elsewhere.json")
    assert "cannot be read" in line
    assert CANARY not in line
    far = np.tile(np.eye(4), (2, 1, 1))
    far[:, :3, 3] = [5.0, -7, 60]  # in the wall's tissue
    (tmp_path / "far.json").write_text(json.dumps(far.tolist()))
    assert "photograph 1" in mistake(*args, "--poses", tmp_path / "far.json")
    assert not out.exists()
