"""What is changed in Taichi."""

import pytest

from endorender.engine import ti
from endorender.render import backend


def test_a_mistake_in_a_kernel_still_names_its_place():
    backend.ensure()

    @ti.kernel
    def wrong(n: ti.i32) -> ti.i32:
        return n + nowhere  # noqa: F821

    with pytest.raises(ti.TaichiCompilationError) as error:
        wrong(1)
    told = str(error.value)
    assert "test_engine.py" in told
    assert f"line {test_a_mistake_in_a_kernel_still_names_its_place.__code__.co_firstlineno + 5}, in wrong" in told
    assert "return n + nowhere" in told
