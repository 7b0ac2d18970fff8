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
            "delta1": 0,
            "delta2": 0,
            "delta3": 0,
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
        "delta1": (thresh < 1.25).mean(),
        "delta2": (thresh < 1.25**2).mean(),
        "delta3": (thresh < 1.25**3).mean(),
        "rmse": np.sqrt(((gt - pred) ** 2).mean()),
        "rmse_log": np.sqrt(((np.log(gt) - np.log(pred)) ** 2).mean()),
        "abs_rel": np.mean(np.abs(gt - pred) / gt),
        "sq_rel": np.mean(((gt - pred) ** 2) / gt),
        "log10": np.mean(np.abs(np.log10(pred) - np.log10(gt))),  # these two: BTS and AdaBins
        "silog": np.sqrt(np.mean(err**2) - np.mean(err) ** 2) * 100,
    }


@pytest.mark.parametrize("protocol", ["metric", "median"])
@pytest.mark.parametrize("pixels", [1, 2, 99, 1000])
def test_the_published_scripts_agree(protocol, pixels):
    rng = np.random.default_rng(pixels)
    gt = rng.uniform(2, 149, pixels)
    pred = gt * rng.lognormal(0.3, 0.4, pixels)
    result = of_image(*(torch.from_numpy(a)[None, None] for a in (pred, gt, gt > 0)), protocols.build(protocol))
    assert result.values() == pytest.approx(published(gt, pred, protocol == "median"), rel=1e-9, abs=1e-6)


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


@pytest.mark.parametrize("protocol", list(protocols))
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
    for protocol in map(protocols.build, protocols):
        with pytest.raises(UserError) as refusal:
            of_image(truth, truth, truth > 5, protocol)
        assert refusal.value.code == "EMPTY_MASK"
        for bad in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(UserError) as refusal:
                of_image(image([1, bad]), truth, truth > 0, protocol)
            assert refusal.value.code == "BAD_PREDICTION"
            of_image(image([1, bad]), truth, truth < 2, protocol)  # where nothing is known, nothing is judged
