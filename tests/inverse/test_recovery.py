"""Hidden parameters found again: through noise and 8 bits, by a fit that has never seen them. Minutes each."""

import numpy as np
import pytest

from tests.inverse import recoveries

pytestmark = pytest.mark.slow


def errors(rows):
    """Relative errors of what was seen, by label."""
    return {label: value / hidden - 1 for label, hidden, value, _, _, seen in rows if seen}


def unseen(rows):
    return {label for label, *_, seen in rows if not seen}


def test_four_albedos_g_roughness_and_exposure_together():
    """Within 5 %, and nothing is told of the control point where there is no tissue."""
    _, rows = recoveries.joint()
    assert unseen(rows) == {f"tissue.albedo[0 HU].{c}" for c in ("red", "green", "blue")}
    found = errors(rows)
    assert len(found) == 12 + 3
    assert max(map(abs, found.values())) < 0.05, found


def test_extinction_where_it_is_seen():
    """Of mist and a thin wall; of the control point above all HU that there are nothing is told."""
    _, rows = recoveries.thin()
    assert unseen(rows) == {"tissue.sigma_t[500 HU]"}
    found = errors(rows)
    assert len(found) == 3
    assert max(map(abs, found.values())) < 0.05, found


def test_a_picture_by_another_renderer():
    """Mitsuba's picture of a cube: g, albedo, exposure."""
    _, rows = recoveries.by_mitsuba()
    assert not unseen(rows)
    found = errors(rows)
    assert max(map(abs, found.values())) < 0.05, found


@pytest.mark.parametrize(("mm", "degrees", "far"), [(1.0, 3.0, False), (5.0, 10.0, True)])
def test_poses(mm, degrees, far):
    """To within 0.1 mm and 0.3 degrees, by gradients; from farther off with a search on the geometry first."""
    _, rows = recoveries.pose(mm, degrees, search_first=far)
    ends = np.array([row[5:7] for row in rows])
    assert (ends[:, 0] < 0.1).all(), rows
    assert (ends[:, 1] < 0.3).all(), rows
