"""Training that is cut off and goes on."""

import pytest

from training.trainer import train


def cut_and_resumed(config, out, data, step):
    """The run's folder, after a crash behind `step` and a second call."""

    def crash(done, total, text):
        if done == step:
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        train(config, out, data, progress=crash)
    return train(config, out, data, resume=True)
