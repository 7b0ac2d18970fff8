"""The torch function: what its gradients are those of, when samples must be independent, what it refuses."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from endorender.errors import UserError
from endorender.inverse import parameter_names, parameters, render
from endorender.render.images import gradient as gradients
from endorender.scene import Constant, GridMedium, MucosaPhysical, Point
from tests.render.gradients import Estimate, weights
from tests.render.scenes import cube_scene, tube_scene

FOG = {"sigma_t": [0.02, 0.2, 0.3, 0.3], "albedo": [[0.9, 0.6, 0.4]] * 4, "phase": {"type": "hg", "g": 0.3}}


def tube(**changes):
    return tube_scene("volume", (6, 6), **{**FOG, **changes})


def tensors(scene, *names):
    return {name: torch.tensor(parameters.current(scene, name), requires_grad=True) for name in names}


def test_a_fixed_seed_gives_the_same_bytes():
    scene = tube()
    found = []
    for _ in range(2):
        params = tensors(scene, "tissue.albedo", "phase.g", "lights.0.intensity")
        picture = render(scene, params, 4, 7)
        (picture**2).sum().backward()
        found.append([picture.detach().numpy().tobytes(), *(p.grad.numpy().tobytes() for p in params.values())])
    assert found[0][0] == found[1][0]
    for a, b in zip(found[0][1:], found[1][1:]):
        assert np.frombuffer(a) == pytest.approx(np.frombuffer(b), rel=1e-9)


def test_gradcheck_where_paths_do_not_follow():
    """Strength, colour and fall-off of lights choose no path: at one seed the picture is a smooth function of them.

    So its differences are those of the very same samples and the gradient is theirs exactly. Of parameters that paths
    follow (extinction, pose) only expectations can be compared: tests/render/test_adjoint_differences.py.
    """
    scene = tube(phase={"type": "hg", "g": 0.3})
    params = tensors(scene, "lights.0.intensity", "lights.0.colour", "lights.0.mu")
    with torch.no_grad():
        params["lights.0.mu"] += 1.0

    def value(*values):
        picture = render(scene, dict(zip(params, values)), 16, 3, independent=False)
        return (picture.double() * torch.from_numpy(weights(6)).double()).sum() * 100

    assert torch.autograd.gradcheck(value, tuple(params.values()), eps=1e-2, atol=2e-4, rtol=2e-3)


def test_gradients_reach_the_parameter_through_the_table():
    """Albedo of one control point by additive steps of that point alone."""
    scene, weighted = tube(), weights(6).astype(float)
    base = parameters.current(scene, "tissue.albedo")

    def along(h):
        changed = base.copy()
        changed[2, 1] += h
        return parameters.apply(scene, {"tissue.albedo": changed})

    pictures = [
        [(gradients.picture(along(h), 2048, seed).mean * weighted).sum() for h in (0.03, -0.03)] for seed in range(8)
    ]
    differences = Estimate.of([(a - b) / 0.06 for a, b in pictures])
    rounds = []
    for seed in range(8):
        params = tensors(scene, "tissue.albedo")
        (render(scene, params, 512, seed) * torch.from_numpy(weighted)).sum().backward()
        rounds.append(params["tissue.albedo"].grad.numpy()[2, 1])
    found = Estimate.of(rounds)
    assert found.error < 0.03 * found.value
    assert abs(found.z(differences)) < 4


def test_independent_samples_leave_an_l2_loss_unbiased():
    """Loss Σ (I - t)²; by the light's factor s = 1 its gradient is 2 Σ (E I - t) E I, and 2 Σ Var I more if shared."""
    scene = cube_scene(5.0, 0.8, [Constant()], size=4, fov=20)
    exact = gradients.picture(scene, 4096, 99).mean.astype(float)
    target, expected = 0.9 * exact, 2 * (0.1 * exact * exact).sum()
    found = {}
    for independent in (True, False):
        rounds = []
        for seed in range(200):
            params = tensors(scene, "lights.0.radiance")
            picture = render(scene, params, 2, seed, independent=independent)
            ((picture - torch.from_numpy(target)) ** 2).sum().backward()
            rounds.append(float(params["lights.0.radiance"].grad.sum()))
        found[independent] = Estimate.of(rounds)
    assert abs(found[True].value - expected) < 4 * found[True].error
    assert found[False].value - expected > 6 * found[False].error


def test_views_of_a_batch_share_parameters():
    a = tube()
    pose = a.world_from_camera.copy()
    pose[:3, :3] = pose[:3, :3] @ Rotation.from_rotvec([0, 0.3, 0]).as_matrix()
    b = a.with_(world_from_camera=pose)
    params = tensors(a, "lights.0.intensity")
    both = render([a, b], params, 8, 1)
    assert both.shape == (2, 6, 6, 3)
    both.sum().backward()
    assert torch.equal(both[0], render(a, params, 8, 1)[...])
    summed = 2 * (both.detach().sum() / 2) / 100
    assert float(params["lights.0.intensity"].grad) == pytest.approx(float(summed), rel=0.2)  # other samples
    moved = {"camera.pose": torch.zeros(2, 6, requires_grad=True)}
    render([a, b], moved, 2, 1).sum().backward()
    assert moved["camera.pose"].grad.shape == (2, 6)
    assert (moved["camera.pose"].grad != 0).all()


def test_exp_is_a_rigid_motion_in_the_cameras_frame():
    start = tube().world_from_camera
    there = parameters.moved(start, np.array([1.0, 2, 3, 0, 0, 0]))
    assert there[:3, 3] == pytest.approx(start[:3, 3] + start[:3, :3] @ [1, 2, 3])
    turned = parameters.moved(start, np.array([0, 0, 0, 0.1, -0.4, 0.2]))
    assert turned[:3, :3] == pytest.approx(start[:3, :3] @ Rotation.from_rotvec([0.1, -0.4, 0.2]).as_matrix())


def test_every_name_can_be_applied_and_differentiated():
    """Of a tissue, of a grid, under light from all sides; values of now leave the scene as it is."""
    sky = cube_scene(2.0, 0.8, [Constant(radiance=(0.5, 0.6, 0.7))], g=0.4)
    lamp = tube(phase={"type": "double_hg"})
    for scene in (lamp, sky, tube_scene("interface", (6, 6), roughness=0.3)):
        scene = scene.with_(max_scatterings=8)
        params = tensors(scene, *parameter_names(scene))
        assert len(params) >= 5
        render(scene, params, 2, 1).sum().backward()
        for name, value in params.items():
            assert value.grad is not None, name
            assert value.grad.shape == value.shape
            assert torch.isfinite(value.grad).all(), name
            assert value.grad.abs().sum() > 0, name


def test_derived_tissues_become_plain_ones():
    scene = tube_scene("interface", (6, 6)).with_(tissue=MucosaPhysical())
    changed = parameters.apply(scene, {"tissue.sigma_t": np.array([2.5])})
    assert changed.tissue.sigma_t == (2.5,)
    assert changed.tissue.albedo == scene.tissue.albedo


def test_parameters_of_the_phase_at_control_points():
    scene = tube()
    spread = torch.full((4,), 0.3, dtype=torch.float64, requires_grad=True)
    render(scene, {"phase.g": spread}, 64, 1).sum().backward()
    whole = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    render(scene, {"phase.g": whole}, 64, 1).sum().backward()
    assert float(spread.grad.sum()) == pytest.approx(float(whole.grad), rel=1e-6)


def _message(scene, params):
    with pytest.raises(UserError) as caught:
        render(scene, params, 1, 1)
    return str(caught.value)


def test_mistakes_are_one_clear_line():
    scene = tube()
    assert "these can: tissue.sigma_t" in _message(scene, {"tissue.colour": torch.zeros(3)})
    assert "shape (4,), got (3,)" in _message(scene, {"tissue.sigma_t": torch.zeros(3)})
    assert "not finite" in _message(scene, {"tissue.sigma_t": torch.full((4,), torch.nan)})
    assert "sigma_t must be >= 0" in _message(scene, {"tissue.sigma_t": torch.full((4,), -1.0)})
    assert "each of 2 views" in _message([scene, scene], {"camera.pose": torch.zeros(6)})
    grid = cube_scene(2.0, 0.8, [Constant()])
    assert isinstance(grid.medium, GridMedium)
    assert "sigma_t must be >= 0" in _message(grid, {"medium.sigma_t": torch.full((4, 4, 4), -1.0)})
    two = cube_scene(2.0, 0.8, [Constant(), Point(position=(2, 2, -1), attached="world")])
    black = {"lights.0.radiance": torch.zeros(3, dtype=torch.float64, requires_grad=True)}
    with pytest.raises(UserError, match="above 0"):
        render(two, black, 1, 1).sum().backward()
