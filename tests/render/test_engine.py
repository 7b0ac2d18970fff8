"""What is changed in Taichi."""

import ast
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import endorender
from endorender import generator
from endorender.engine import CompilationError, ti
from endorender.errors import UserError
from endorender.generator import ENGINES
from endorender.render.device import backend
from endorender.trial import equal, least


def test_a_mistake_in_a_kernel_still_names_its_place():
    backend.ensure()

    @ti.kernel
    def wrong(n: ti.i32) -> ti.i32:
        return n + nowhere  # noqa: F821

    with pytest.raises(CompilationError) as error:
        wrong(1)
    told = str(error.value)
    assert "test_engine.py" in told
    assert f"line {test_a_mistake_in_a_kernel_still_names_its_place.__code__.co_firstlineno + 5}, in wrong" in told
    assert "return n + nowhere" in told


def test_closures_of_one_function_are_read_with_their_own_values():
    """Their source is looked up once for all of them."""
    backend.ensure()

    def adder(amount):
        @ti.func
        def add(x):
            return x + amount

        return add

    one, ten = adder(1), adder(10)

    @ti.kernel
    def both(n: ti.i32) -> ti.i32:
        return one(n) + 100 * ten(ten(n))

    assert both(2) == 3 + 2200


def test_a_function_in_a_class_is_known_as_one():
    backend.ensure()

    @ti.data_oriented
    class Shelf:
        def __init__(self):
            self.height = 3

        @ti.func
        def above(self, n):
            return self.height + n

        @ti.kernel
        def top(self, n: ti.i32) -> ti.i32:
            return self.above(n)

    assert Shelf().top(4) == 7


def test_no_call_hides_in_a_static_conditional_expression():
    """Of `a if ti.static(c) else b` Taichi 1.7.4 runs both branches, and the chosen one twice, draws and all."""
    found = []
    for path in Path(endorender.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.IfExp) and "ti.static" in ast.unparse(node.test):
                branches = [*ast.walk(node.body), *ast.walk(node.orelse)]
                found += [f"{path.name}:{node.lineno}" for n in branches if isinstance(n, ast.Call)]
    assert not found


@pytest.mark.slow
def test_both_engines_do_the_same(tmp_path):
    """A whole dataset, the viewer's preview, gradients and a fit: equal but for rounding."""
    if importlib.util.find_spec("quadrants") is None:
        pytest.skip("quadrants is not installed (pip install 'endorender[quadrants]')")
    code = "import sys, numpy as np\nfrom endorender.trial import whole\nnp.savez(sys.argv[1], **whole('cpu'))"
    made = []
    for name in ENGINES:
        path = tmp_path / f"{name}.npz"
        environment = {**os.environ, "ENDORENDER_ENGINE": name}
        subprocess.run([sys.executable, "-c", code, str(path)], env=environment, check=True, timeout=600)
        made.append(np.load(path))
    assert {"radiance", "hides", "median", "preview", "gradient", "tissue.albedo"} <= set(made[0])
    for part in made[0]:
        assert equal(made[0][part], made[1][part]) >= least(part), part


@pytest.mark.parametrize("told", ["Use setlocale(), getencoding() and getlocale() instead",
                                  "'locale.getdefaultlocale' is deprecated and slated for removal in Python 3.15. Use "
                                  "setlocale(), getencoding() and getlocale() instead."])  # fmt: skip
def test_what_the_engine_asks_of_the_locale_is_no_warning_of_ours(told):
    """Python 3.11.2 says it in other words than later ones: with warnings as errors nothing could be imported."""
    code = f"""
import locale, warnings

def asked():
    warnings.warn({told!r}, DeprecationWarning, stacklevel=2)
    return None, "UTF-8"

locale.getdefaultlocale = asked
import endorender.engine
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_an_unknown_engine_is_refused():
    done = subprocess.run(
        [sys.executable, "-c", "import endorender.engine"],
        env={**os.environ, "ENDORENDER_ENGINE": "abacus"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "UserError: ENDORENDER_ENGINE is one of taichi, quadrants, not 'abacus'" in done.stderr


def test_a_kernel_may_stand_at_the_top_of_a_script(tmp_path):
    """Where no frame lies further out, the test for a class must not fail."""
    script = tmp_path / "script.py"
    script.write_text("from endorender.engine import ti\n\n@ti.kernel\ndef f() -> ti.i32:\n    return 3\n", "utf-8")
    subprocess.run([sys.executable, str(script)], check=True, timeout=120)


@pytest.mark.parametrize(("name", "way_out"), [("taichi", "endorender'"), ("quadrants", r"endorender\[quadrants\]'")])
def test_an_engine_that_is_not_installed_is_said_with_the_way_out(monkeypatch, name, way_out):
    monkeypatch.setenv("ENDORENDER_ENGINE", name)

    def absent(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    generator._version.cache_clear()
    try:
        with pytest.raises(UserError, match=f"{name} is not installed: pip install '{way_out}") as error:
            generator.engine()
    finally:
        generator._version.cache_clear()
    assert error.value.code == "MISSING_EXTRA"
