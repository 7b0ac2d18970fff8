"""What is on its way out warns, works, and is gone when its date has passed."""

from datetime import UTC, date, datetime, timedelta

import pytest

from endorender import deprecated
from endorender.deprecated import DEPRECATIONS, overdue
from endorender.errors import Notice
from endorender.registry import validated
from training.config import TrainConfig


def test_nothing_is_kept_beyond_its_date():
    late = overdue(datetime.now(UTC).date())
    assert not late, f"take these out, with their tests and pages, and say so in CHANGELOG.md: {', '.join(late)}"


def test_a_date_that_passes_is_noticed(monkeypatch):
    day = date(2030, 1, 31)
    monkeypatch.setattr(deprecated, "DEPRECATIONS", {"old": deprecated.Deprecation("old", "new", day)})
    assert overdue(day) == []
    assert overdue(day + timedelta(days=1)) == ["old"]
    with pytest.warns(Notice, match="old is read until 2030-01-31: write new"):
        deprecated.warn("old")


def test_tensorboard_is_one_of_the_loggers():
    with pytest.warns(Notice, match="tensorboard: true is read until") as told:
        config = validated(TrainConfig, {"tensorboard": True, "loggers": "mlflow"}, "configuration")
    assert len(told) == 1
    assert config.loggers == ("tensorboard", "mlflow")
    assert validated(TrainConfig, {"tensorboard": False}, "configuration") == TrainConfig()  # as old runs have it
    assert "tensorboard" in DEPRECATIONS
