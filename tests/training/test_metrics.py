"""Metrics against values worked by hand, and against the formulas of published scripts."""

from math import log, log10, sqrt

import numpy as np
import pytest
import torch

from endorender.errors import UserError
from training.metrics import METRICS, DepthMetrics, of_image, pooled, protocols

T = torch.tensor


def image(values):
    return T(values, dtype=torch.float32).reshape(1, 1, -1)


def test_by_hand():
    # Ratios 2 and 1/2: every threshold up to 1.25³ = 1.953 is missed.
    r = of_image(image([2, 4, 9]), image([1, 8, 9]), T([[[True, True, False]]]), protocols.build("metric"))
    assert (r.pixels, r.scale) == (2, 1.0)
    assert r.values() == pytest.approx(
        {
            "abs_rel": (1 + 0.5) / 2,
            "sq_rel": (1 / 1 + 16 / 8) / 2,
            "rmse": sqrt((1 + 16) / 2),
            "rmse_log": log(2),
            "log10": log10(2),
            "silog": 100 * log(2),
            "scale_inv": log(2) ** 2,
            "mae": (1 + 4) / 2,
            "median_rel": (1 + 0.5) / 2,
            "within_10": 0,
            "delta_105": 0,
            "delta1": 0,
            "delta2": 0,
            "delta3": 0,
            # One pair, nearer on the left in both: precision and recall are 1 in one direction of four.
            "boundary_f1": 1 / 4,
        }
    )


def test_thresholds_are_strict_and_symmetric():
    truth = image([10, 10, 10, 10, 10, 10])
    prediction = image([10, 12.4, 12.6, 10 / 1.24, 15.6, 19.5])
    values = of_image(prediction, truth, truth > 0, protocols.build("metric")).values()
    assert values["delta1"] == pytest.approx(3 / 6)
    assert values["delta2"] == pytest.approx(5 / 6)
    assert values["delta3"] == pytest.approx(1)
    exact = of_image(image([12.5]), image([10]), T([[[True]]]), protocols.build("metric"))
    assert exact.values()["delta1"] == 0  # 1.25 is not below 1.25


def test_silog_forgives_a_scale_and_rmse_log_does_not():
    truth = torch.rand(1, 8, 8) * 30 + 5
    values = of_image(3 * truth, truth, truth > 0, protocols.build("metric")).values()
    assert values["silog"] == pytest.approx(0, abs=1e-3)
    assert values["rmse_log"] == pytest.approx(log(3), abs=1e-6)


def published(gt, pred, scaling):
    """`compute_errors` of monodepth2 and AF-SfMLearner, and the lines around it, MIN 1e-3 and MAX 150."""
    mask = np.logical_and(gt > 1e-3, gt < 150)
    gt, pred = gt[mask], pred[mask]
    if scaling:
        pred = pred * (np.median(gt) / np.median(pred))
        pred[pred < 1e-3] = 1e-3
        pred[pred > 150] = 150
    thresh = np.maximum((gt / pred), (pred / gt))
    err = np.log(pred) - np.log(gt)
    return {
        "delta_105": (thresh < 1.05).mean(),
        "delta1": (thresh < 1.25).mean(),
        "delta2": (thresh < 1.25**2).mean(),
        "delta3": (thresh < 1.25**3).mean(),
        "rmse": np.sqrt(((gt - pred) ** 2).mean()),
        "rmse_log": np.sqrt(((np.log(gt) - np.log(pred)) ** 2).mean()),
        "abs_rel": np.mean(np.abs(gt - pred) / gt),
        "sq_rel": np.mean(((gt - pred) ** 2) / gt),
        "log10": np.mean(np.abs(np.log10(pred) - np.log10(gt))),  # these two: BTS and AdaBins
        "silog": np.sqrt(np.mean(err**2) - np.mean(err) ** 2) * 100,
        "scale_inv": np.mean(err**2) - np.mean(err) ** 2,  # Eigen 2014, eq. 3
        "mae": np.mean(np.abs(pred - gt)),  # these two: SimCol3D
        "median_rel": np.median(np.abs((pred - gt) / gt)),
        "within_10": np.mean(np.where(np.abs(gt - pred) / gt < 0.1, 1.0, 0.0)),  # PPSNet's a1
    }


@pytest.mark.parametrize("protocol", ["metric", "median"])
@pytest.mark.parametrize("pixels", [1, 2, 99, 1000])
def test_the_published_scripts_agree(protocol, pixels):
    rng = np.random.default_rng(pixels)
    gt = rng.uniform(2, 149, pixels)
    pred = gt * rng.lognormal(0.3, 0.4, pixels)
    result = of_image(*(torch.from_numpy(a)[None, None] for a in (pred, gt, gt > 0)), protocols.build(protocol))
    found = {name: value for name, value in result.values().items() if name != "boundary_f1"}  # of images: see below
    assert found == pytest.approx(published(gt, pred, protocol == "median"), rel=1e-9, abs=1e-6)


def depth_pro(prediction, truth):
    """SI boundary F1 by the definition of Depth Pro (2024), section 4, pair by pair, on inverse depths."""
    total, weights = 0.0, 0.0
    for bound in np.linspace(1.05, 1.25, 10):
        edges = []
        for depth in (prediction, truth):
            c, (h, w) = 1 / depth, depth.shape
            pairs = [((y, x), (y, x + 1)) for y in range(h) for x in range(w - 1)]
            below = [((y, x), (y + 1, x)) for y in range(h - 1) for x in range(w)]
            edges.append(
                [
                    {pair for pair in some if c[pair[a]] / c[pair[1 - a]] > bound}
                    for some in (pairs, below)
                    for a in (0, 1)
                ]
            )
        precision = np.mean([len(p & t) / max(len(p), 1) for p, t in zip(*edges)])
        recall = np.mean([len(p & t) / max(len(t), 1) for p, t in zip(*edges)])
        total += bound * (2 * precision * recall / (precision + recall) if precision + recall else 0)
        weights += bound
    return total / weights


def test_boundary_f1_is_depth_pros():
    rng = np.random.default_rng(7)
    truth = np.exp(rng.normal(2, 0.15, (9, 12)))
    prediction = truth * np.exp(rng.normal(0.5, 0.08, truth.shape))
    mask = torch.ones(1, 9, 12, dtype=torch.bool)
    p, t = torch.from_numpy(prediction)[None], torch.from_numpy(truth)[None]
    for protocol in ("metric", "median"):
        found = of_image(p, t, mask, protocols.build(protocol)).values()["boundary_f1"]
        assert found == pytest.approx(depth_pro(prediction, truth))  # whatever the scale
    assert of_image(t, t, mask, protocols.build("metric")).values()["boundary_f1"] == pytest.approx(1)
    flat = of_image(0 * p + 5, t, mask, protocols.build("metric")).values()["boundary_f1"]
    assert flat == 0  # a constant has no edge
    # A step a pixel beside the true one is no hit.
    step = torch.where(torch.arange(12) < 6, 10.0, 20.0).expand(1, 9, 12)
    for moved, value in ((0, 1 / 4), (1, 0)):
        values = of_image(step.roll(moved, -1).clone(), step, mask, protocols.build("metric")).values()
        assert values["boundary_f1"] == pytest.approx(value)


def test_boundary_f1_looks_at_pairs_that_are_both_compared():
    truth = torch.tensor([[[10.0, 20, 10, 10], [10, 20, 10, 10]]])
    wild = truth.clone()
    wild[..., 3] = 1.0  # an edge that is not there, where nothing is known
    whole = torch.ones(1, 2, 4, dtype=torch.bool)
    known = whole.clone()
    known[..., 3] = False
    judged = [of_image(wild, truth, m, protocols.build("metric")).values()["boundary_f1"] for m in (known, whole)]
    assert judged[0] == pytest.approx(1 / 2)  # two of four directions have edges, all found
    assert judged[1] < 1 / 2


def test_median_leaves_out_far_truth_and_clips_predictions():
    protocol = protocols.build({"type": "median", "max_mm": 100})
    truth, prediction = image([10, 20, 40, 500]), image([1, 2, 90, 5])
    r = of_image(prediction, truth, truth > 0, protocol)
    assert r.pixels == 3
    assert r.scale == pytest.approx(10)
    assert r.prediction.tolist() == pytest.approx([10, 20, 100])
    with pytest.raises(UserError, match=r"between 0\.001 and 100 mm"):
        of_image(image([1]), image([300]), T([[[True]]]), protocol)
    scaled = of_image(5 * prediction, truth, truth > 0, protocol)
    assert scaled.values() == pytest.approx(r.values())


def test_some_metrics_alone_are_what_they_are_among_all():
    generator = torch.Generator().manual_seed(0)
    p, t = (1 + 30 * torch.rand(3, 1, 6, 7, generator=generator) for _ in range(2))
    every, some = DepthMetrics("median"), DepthMetrics("median", ["rmse", "delta1"])
    for metric in (every, some):
        metric.update(p, t, t > 5)
    names = ("rmse", "delta1", "rmse_pooled", "delta1_pooled")
    assert some.compute() == {name: every.compute()[name] for name in names}


def test_mean_of_images_and_pooled_value_are_told_apart():
    # One pixel with error 1, three with error 0: mean of images 1/2, pooled 1/4.
    truth = torch.full((2, 1, 1, 3), 10.0)
    prediction = truth.clone()
    prediction[0, 0, 0, 0] = 20
    mask = torch.ones_like(truth, dtype=torch.bool)
    mask[0, 0, 0, 1:] = False
    metric = DepthMetrics("metric")
    metric.update(prediction, truth, mask)
    values = metric.compute()
    assert values["abs_rel"] == pytest.approx(1 / 2)
    assert values["abs_rel_pooled"] == pytest.approx(1 / 4)
    assert values["rmse"] == pytest.approx(5)
    assert values["rmse_pooled"] == pytest.approx(sqrt(100 / 4))
    assert set(values) == {name + end for name in METRICS for end in ("", "_pooled")}
    results = [of_image(p, t, m, metric.protocol) for p, t, m in zip(prediction, truth, mask)]
    assert pooled(results)["rmse"] == pytest.approx(values["rmse_pooled"])


def test_least_squares_scale_by_hand():
    # Σ p t = 1·3 + 2·4 = 11, Σ p² = 5.
    r = of_image(image([1, 2]), image([3, 4]), T([[[True, True]]]), protocols.build("lsq"))
    assert r.scale == pytest.approx(11 / 5)
    assert r.prediction.tolist() == pytest.approx([2.2, 4.4])
    assert r.values()["mae"] == pytest.approx((0.8 + 0.4) / 2)


def test_affine_finds_the_line_and_clips_what_falls_below_zero():
    truth = image([10, 20, 30, 40])
    r = of_image((truth - 3) / 4, truth, truth > 0, protocols.build("affine"))
    assert (r.scale, r.shift) == pytest.approx((4, 3), rel=1e-5)
    assert r.values()["rmse"] == pytest.approx(0, abs=1e-5)
    # p = 1, 2, 3, t = 1, 2, 9: slope 4, mean 4, so the first lands on 0.
    r = of_image(image([1, 2, 3]), image([1, 2, 9]), T([[[True, True, True]]]), protocols.build("affine"))
    assert (r.scale, r.shift) == pytest.approx((4, -4))
    assert r.prediction.tolist() == pytest.approx([1e-3, 4, 8], abs=1e-9)
    flat = of_image(image([5, 5]), image([10, 20]), T([[[True, True]]]), protocols.build("affine"))
    assert (flat.scale, flat.shift) == (0, 15)


def test_affine_does_not_turn_depth_that_runs_backwards_round():
    truth = image([10, 20, 30, 40])
    r = of_image(90 - truth, truth, truth > 0, protocols.build("affine"))
    assert (r.scale, r.shift) == (0, 25)  # the best line that does not fall
    assert r.values()["abs_rel"] == pytest.approx((1.5 + 0.25 + 5 / 30 + 15 / 40) / 4)


def test_ppsnets_scale_fits_the_better_half():
    # Four of seven pixels agree on 2 exactly: the least median of squares is 0 there, whatever the rest say.
    truth, prediction = image([2, 4, 6, 8, 100, 200, 300]), image([1, 2, 3, 4, 5, 6, 7])
    r = of_image(prediction, truth, truth > 0, protocols.build("ppsnet"))
    assert r.scale == pytest.approx(2)
    assert r.values()["within_10"] == pytest.approx(4 / 7)
    rng = np.random.default_rng(0)
    t = rng.uniform(5, 80, 400)
    p = t * rng.lognormal(0.5, 0.3, 400)
    r = of_image(*(torch.from_numpy(a)[None, None] for a in (p, t, t > 0)), protocols.build("ppsnet"))
    grid = np.linspace(0.1, 3, 20001)
    least = min(np.median((t - s * p) ** 2) for s in grid)
    assert np.median((t - r.scale * p) ** 2) <= 1.02 * least


def simcol(preds, gts):
    """`process_depths` of SimCol3D's eval_synthetic_depth.py, in mm (there: units of 20 cm, and 1e-4 cm added)."""
    preds = [p.clip(0, 200) for p in preds]
    gts_, preds_ = np.array([g.mean() for g in gts]), np.array([p.mean() for p in preds])
    scale = np.sum(preds_ * gts_) / np.sum(preds_ * preds_)
    each = [
        (np.mean(abs(p * scale - g)), np.median(abs((p * scale - g) / g)), np.sqrt(np.mean((p * scale - g) ** 2)))
        for p, g in zip(preds, gts)
    ]
    return scale, np.mean(each, axis=0)


def test_simcol_scales_a_trajectory_as_the_published_script():
    from types import SimpleNamespace

    from training.evaluate import judged

    rng = np.random.default_rng(1)
    gts = [rng.uniform(5, 150, (6, 8)) for _ in range(5)]
    preds = [g * rng.uniform(0.5, 2, g.shape) for g in gts]
    frames = [SimpleNamespace(patient="p", variation="v", volume={}) for _ in gts]
    frames[4].patient = "q"  # another trajectory, with a scale of its own
    truths = [(torch.from_numpy(g)[None], torch.from_numpy(g)[None] > 0) for g in gts]
    found = judged(protocols.build("simcol"), frames, [torch.from_numpy(p)[None] for p in preds], truths)
    scale, (l1, relative, rmse) = simcol(preds[:4], gts[:4])
    assert [r.scale for r in found[:4]] == pytest.approx([scale] * 4)
    values = [r.values() for r in found[:4]]
    for name, expected in (("mae", l1), ("median_rel", relative), ("rmse", rmse)):
        assert np.mean([v[name] for v in values]) == pytest.approx(expected)
    assert found[4].scale == pytest.approx(simcol(preds[4:], gts[4:])[0])
    # By hand: mean depths 10 and 20 predicted as 5 and 20: (5·10 + 20·20) / (25 + 400).
    by_hand = protocols.build("simcol").trajectory_scale([(T([4.0, 6.0]), T([10.0])), (T([20.0]), T([20.0]))])
    assert by_hand == pytest.approx(450 / 425)
    with pytest.raises(UserError, match="whole trajectories"):
        of_image(image([1]), image([1]), T([[[True]]]), protocols.build("simcol"))


ALONE = [name for name in protocols if not protocols.build(name).per_trajectory]


@pytest.mark.parametrize("protocol", ALONE)
def test_batches_processes_and_reset_change_nothing(protocol):
    truth = torch.rand(6, 1, 9, 7, dtype=torch.float64) * 40 + 1
    prediction, mask = truth * (0.5 + torch.rand_like(truth)), torch.rand_like(truth) > 0.3
    whole, a, b = DepthMetrics(protocol), DepthMetrics(protocol), DepthMetrics(protocol)
    whole.update(prediction, truth, mask)
    a.update(prediction[:1], truth[:1], mask[:1])
    a.update(prediction[1:4], truth[1:4], mask[1:4])
    b.update(prediction[4:], truth[4:], mask[4:])
    a.merge_state(b)
    assert a.compute() == pytest.approx(whole.compute())
    a.reset()
    with pytest.raises(UserError, match="no frame"), pytest.warns(UserWarning, match="before"):
        a.compute()


def test_what_cannot_be_judged_is_refused():
    truth = image([1, 2])
    for protocol in map(protocols.build, ALONE):
        with pytest.raises(UserError) as refusal:
            of_image(truth, truth, truth > 5, protocol)
        assert refusal.value.code == "EMPTY_MASK"
        for bad in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(UserError) as refusal:
                of_image(image([1, bad]), truth, truth > 0, protocol)
            assert refusal.value.code == "BAD_PREDICTION"
            of_image(image([1, bad]), truth, truth < 2, protocol)  # where nothing is known, nothing is judged
