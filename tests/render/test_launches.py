"""A kernel holds the interpreter's lock: no launch may do more than a budget of work, and none shows in the result."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from endorender.errors import UserError
from endorender.inverse.unknowns import unknowns
from endorender.render import geometry, optical_depths, radiance
from endorender.render.depth import exact, optical, visibility
from endorender.render.device import launches
from endorender.render.images import gradient
from endorender.render.integrators.volpath_simple import radiance_simple
from endorender.render.medium import mucosa
from endorender.scene import Constant, GridMedium, Mucosa, Point, Response, Scene, Tissue, tissues
from tests.processes import started
from tests.render.scenes import cube_scene, tube, tube_scene

OFF = Point(position=(0, 0, -5), intensity=(0.0,) * 3, attached="world")


@pytest.fixture
def watched(monkeypatch):
    """Every launch: work done, and its budget."""
    seen, trace = [], launches.trace

    def watching(launch, *args, **named):
        def one(*given):
            launch(*given)
            window, _, spent = given
            seen.append((int(spent[0]), window.most_work))

        trace(one, *args, **named)

    monkeypatch.setattr(launches, "trace", watching)
    return seen


def weighted(scene, spp):
    ones = np.ones((scene.camera.height, scene.camera.width, 3))
    found = gradient.gradient(scene, ones, ("sigma_t", "air", "albedo"), spp, 5, ambient=1.0)
    return [found.table, found.picture.mean]


@pytest.mark.parametrize(
    "render",
    [
        lambda s: [getattr(radiance([s], 6, 5)[0], k) for k in ("mean", "variance", "unspent")],
        lambda s: [getattr(radiance([s], 40, 5, noise=0.05)[0], k) for k in ("mean", "variance", "samples")],
        lambda s: [getattr(radiance_simple(s, 6, 5), k) for k in ("mean", "variance")],
        lambda s: weighted(s, 6),
    ],
    ids=["volpath", "noise", "volpath_simple", "adjoint"],
)
def test_bytes_do_not_depend_on_how_launches_are_cut(render, watched, monkeypatch):
    scene = tube_scene(size=(6, 5))
    whole = render(scene)
    few = len(watched)
    monkeypatch.setattr(launches, "FIRST_WORK", 1)
    monkeypatch.setattr(launches, "MOST_WORK", 1)
    cut = render(scene)
    # Each thread takes a path at most, of 180.
    assert len(watched) - few >= 180 // os.cpu_count()
    for a, b in zip(whole, cut):
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("lanes", [2, 3, 7])
def test_samples_of_a_pixel_are_the_same_whichever_thread_takes_them(lanes, monkeypatch):
    scene = tube_scene(size=(6, 5))
    whole = radiance([scene], 7, 5)[0]
    monkeypatch.setattr(launches, "lanes", lambda pixels, spp: lanes)
    shared = radiance([scene], 7, 5)[0]
    np.testing.assert_allclose(shared.mean, whole.mean, rtol=2e-6)
    np.testing.assert_allclose(shared.variance, whole.variance, rtol=2e-4, atol=1e-6 * float(whole.variance.max()))
    assert shared.cut == whole.cut
    monkeypatch.setattr(launches, "FIRST_WORK", 1)
    monkeypatch.setattr(launches, "MOST_WORK", 1)
    cut = radiance([scene], 7, 5)[0]
    assert cut.mean.tobytes() == shared.mean.tobytes()
    assert cut.variance.tobytes() == shared.variance.tobytes()


def closed():
    """From within a closed tube of lossless tissue, no path of which ever ends by itself."""
    lossless = {"sigma_t": [0, 1000, 1000, 1000], "albedo": [[1.0] * 3] * 4}
    scene = tube_scene("volume", (2, 2), [Constant(radiance=(1.0, 2.0, 3.0))], **lossless)
    return scene.with_(max_scatterings=(1 << 24) - 1)


@pytest.mark.parametrize(
    "render",
    [lambda s: radiance([s], 1, 3)[0], lambda s: radiance_simple(s, 1, 3), lambda s: gradient.picture(s, 1, 3)],
    ids=["volpath", "volpath_simple", "adjoint"],
)
def test_a_launch_is_bounded_where_paths_would_not_end(render, watched):
    image = render(closed())
    assert len(watched) >= 2
    # A path may go beyond its own bound by an event: a flight and a shadow ray.
    assert all(work <= budget + os.cpu_count() * (launches.PATH_WORK + 100_000) for work, budget in watched)
    assert sum(work for work, _ in watched) > 4 * launches.PATH_WORK
    assert image.mean.max() == 0


def test_paths_ended_by_their_work_are_counted():
    found = radiance([closed()], 1, 4)[0]
    assert found.cut == 1
    assert (found.unspent == 1).all()


ENDLESS = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
from endorender.render import radiance
from tests.render.test_launches import closed
radiance([closed()], 1_000_000, 3, progress=lambda share: print(share, flush=True))
"""


def test_ctrl_c_acts_among_paths_that_do_not_end():
    pipe = subprocess.PIPE
    with started([sys.executable, "-c", ENDLESS], stdout=pipe, stderr=pipe, text=True) as child:
        assert child.stdout.readline()
        child.send_signal(signal.SIGINT)
        _, error = child.communicate(timeout=300)
    assert error.rstrip().endswith("KeyboardInterrupt")


def test_rays_are_cut_too(monkeypatch):
    """Geometry, depths and the mucosa layer come in parts, whose size does not show."""
    scene = tube_scene(size=(9, 7)).with_(mucosa=Mucosa())

    def all_of():
        seen, deep = geometry(scene), optical_depths(scene)
        return [seen.distance, seen.normal, seen.hu, seen.albedo, deep["median"].distance, deep["expected"].z_depth]

    whole = all_of()
    for module, name in ((exact, "RAYS"), (optical, "RAYS"), (mucosa, "POINTS")):
        monkeypatch.setattr(module, name, 5)
    for a, b in zip(whole, all_of()):
        assert a.tobytes() == b.tobytes()


def test_rays_that_enter_again_are_cut_too(monkeypatch):
    inside = np.zeros((20, 6, 6), np.uint8)
    inside[1:6, 1:5, 1:5], inside[12:18, 1:5, 1:5] = 2, 2
    along = np.tile([1.0, 0, 0], (13, 1)) + np.linspace(0, 0.5, 13)[:, None] * [0, 1, 0]
    given = (inside, np.array([3.0, 3, 3]), along, np.full(13, 3.0), 0.25, 16.0)
    whole = visibility.enters_again(*given)
    assert 0 < whole.sum() < 13
    monkeypatch.setattr(visibility, "RAYS", 4)
    assert (visibility.enters_again(*given) == whole).all()


def too_dense(call, *args, **named):
    with pytest.raises(UserError, match="mean free paths to a voxel") as error:
        call(*args, **named)
    assert error.value.code == "TOO_DENSE"
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("surface", "most"), [("interface", 100.0), ("hybrid", 1000.0), ("volume", 1000.0)])
def test_extinction_beyond_what_voxels_resolve_is_refused(surface, most, tmp_path):
    scene = tube_scene(surface)  # voxels of 1 mm
    assert scene.densest() == most
    scene.with_(tissue=Tissue(sigma_t=(0, most, most, most)))
    for value in (1.01 * most, 1e9, 1e39, 1e300):
        dense = Tissue(sigma_t=(0, 3, 3, value))
        too_dense(scene.with_, tissue=dense)
        too_dense(scene.with_, labels=np.zeros(tube().hu.shape, np.uint8), label_tissues={3: dense})
    file = tmp_path / "preset.vp"
    file.write_text("1\n1\n1\n0\n0\n1\n4 -3024 0 3071 1\n4 0 1 255 1\n8 -3024 0 0 0 3071 1 1 1\n")
    too_dense(scene.with_, tissue=tissues.build({"type": "slicer", "file": str(file), "density": 1e30}))


def test_the_bound_follows_the_voxels():
    """A wall's by their shortest edge, a rounding's by their longest."""
    made = tube()
    flat = type(made)(made.hu, np.diag([0.5, 0.5, 2.0, 1.0]))
    scene = tube_scene()
    assert scene.with_(medium=flat, surface="interface").densest() == 200
    assert scene.with_(medium=flat, surface="volume").densest() == 500
    scene = cube_scene(4000.0, 0.5, [Constant()])  # voxels of a quarter
    grid = scene.medium
    too_dense(scene.with_, medium=GridMedium(1.01 * grid.sigma_t, grid.albedo, grid.affine))
    too_dense(scene.with_, medium=GridMedium(1e30 * grid.sigma_t, grid.albedo, grid.affine))


def test_no_step_of_a_fit_leads_beyond():
    scene = tube_scene("volume")
    free = unknowns([scene], ["tissue.sigma_t"], Response())
    values = free.values(np.full(len(free.labels), 1e3))
    assert isinstance(scene.with_(tissue=Tissue(sigma_t=tuple(values["tissue.sigma_t"]))), Scene)
