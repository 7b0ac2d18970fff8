"""Arrays are held against their annotations in this run, and every public function says what arrays it takes."""

import ast
import builtins
import importlib
import subprocess
import sys
from pathlib import Path

import jaxtyping
import numpy as np
import pytest

from endorender.ct import Volume, voxels
from endorender.ct.anatomy.lumen import Path as Way
from endorender.dataset import exr
from endorender.scene import Response
from tests import annotations

ROOT = Path(__file__).parents[1]
FILES = [file for package in annotations.PACKAGES for file in sorted((ROOT / package.replace(".", "/")).rglob("*.py"))]
VOLUME = Volume(np.zeros((3, 4, 5), np.int16), np.eye(4))
LIGHT = np.ones((4, 6, 3))
# A bare array says nothing. These take or give whatever is in a file.
ANYTHING = {"training.checkpoint", "training.averaging", "training.lora"}


def name_of(file):
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def log_difference(*, mask="bool", size=(2, 1, 4, 5)):
    torch = pytest.importorskip("torch")
    from training.losses import log_difference

    return log_difference(torch.ones(2, 1, 4, 5), torch.ones(size), torch.ones(2, 1, 4, 5, dtype=getattr(torch, mask)))


@pytest.mark.parametrize("package", annotations.PACKAGES)
def test_every_module_is_hooked(package):
    importlib.import_module(package)
    loaded = [m for n, m in sys.modules.items() if n == package or n.startswith(f"{package}.")]
    loaders = {
        type(m.__spec__.loader).__name__ for m in loaded if getattr(m, "__spec__", None) and m.__spec__.has_location
    }
    assert loaded
    assert loaders == {"_JaxtypingLoader"}


def test_what_fits_passes():
    assert VOLUME.to_voxel(np.zeros((2, 3))).shape == (2, 3)
    assert voxels.beside(np.zeros((3, 3, 3), bool)).shape == (3, 3, 3)
    assert Response(exposure=1.0).apply(LIGHT, mask=np.ones((4, 6), bool)).dtype == np.uint8
    assert exr.half(np.ones(3)).dtype == np.float16
    assert Way(np.zeros((3, 3)), np.zeros(3)).length == 0
    assert log_difference().shape == (2, 1, 4, 5)


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(lambda: VOLUME.to_voxel(np.zeros((3, 2))), id="ct-shape"),
        pytest.param(lambda: voxels.beside(np.zeros((3, 3, 3), np.uint8)), id="ct-dtype"),
        pytest.param(lambda: Way(np.zeros((3, 3)), np.zeros(2)), id="ct-dataclass"),
        pytest.param(lambda: Response(exposure=1.0).apply(LIGHT, mask=np.ones((6, 4), bool)), id="scene-tied"),
        pytest.param(lambda: Response(exposure=1.0).apply(LIGHT, mask=np.ones((4, 6), int)), id="scene-dtype"),
        pytest.param(lambda: exr.half(np.ones(3, int)), id="dataset-dtype"),
        pytest.param(lambda: exr.spoilt(np.ones((4, 6, 3), np.float16), np.ones((4, 5), bool)), id="dataset-tied"),
        pytest.param(lambda: log_difference(mask="float32"), id="training-dtype"),
        pytest.param(lambda: log_difference(size=(2, 1, 5, 4)), id="training-tied"),
    ],
)
def test_what_does_not_fit_is_refused(wrong):
    with pytest.raises(jaxtyping.TypeCheckError):
        wrong()


def test_a_wrong_result_is_refused(tmp_path, monkeypatch):
    (tmp_path / "trial.py").write_text(
        "from __future__ import annotations\nfrom typing import TYPE_CHECKING\nimport numpy as np\n"
        "if TYPE_CHECKING:\n    from jaxtyping import Float\n"
        "def halved(a: Float[np.ndarray, ' N']) -> Float[np.ndarray, ' N']:\n    return a[::2]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("trial", annotations.CHECKER):
        import trial
    monkeypatch.delitem(sys.modules, "trial")
    assert len(trial.halved(np.ones(1))) == 1
    with pytest.raises(jaxtyping.TypeCheckError, match="return value"):
        trial.halved(np.ones(4))


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_public_functions_say_shape_and_dtype(file):
    """And by names that exist when the module runs: what jaxtyping cannot resolve it does not check."""
    tree = ast.parse(file.read_text())
    arrays, known = annotations.arrays_of(tree), set(dir(builtins)) | bound(tree)
    for what, public, found in annotated(tree):
        names = annotations.names_in(found)
        text = ast.unparse(found)
        assert arrays.isdisjoint(names) or names <= known, f"{what}: {sorted(names - known)} is not there in {text}"
        if public and name_of(file) not in ANYTHING:
            assert bare(found, arrays) == [], f"{what}: {text} tells no shape: Float[..., 'H W 3']"


def bound(tree):
    """Names that a module has under the hook."""
    found = set()
    for node in tree.body:
        later = isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for n in node.orelse + [m for m in node.body if annotations.hoisted(m)] if later else [node]:
            for part in ast.walk(n):
                if isinstance(part, ast.alias):
                    found.add((part.asname or part.name).split(".")[0])
                elif isinstance(part, ast.ClassDef | ast.FunctionDef):
                    found.add(part.name)
                elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
                    found.add(part.id)
    return found


def annotated(tree, within="", public=True):
    """(what, whether it is public, its annotation) of functions' arguments and results, and of fields."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            yield from annotated(node, f"{within}{node.name}.", public and not node.name.startswith("_"))
        elif isinstance(node, ast.FunctionDef):
            told = not node.name.startswith("_") or node.name in ("__init__", "__call__")
            a = node.args
            every = [*a.posonlyargs, *a.args, *a.kwonlyargs, *([a.vararg] if a.vararg else [])]
            for found in [*(e.annotation for e in every), node.returns]:
                if found is not None:
                    yield within + node.name, public and told, found
        elif isinstance(node, ast.AnnAssign) and within:
            yield within + node.target.id, public and not node.target.id.startswith("_"), node.annotation


def bare(annotation, arrays):
    """Arrays in an annotation that no shape goes with."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Subscript) and getattr(annotation.value, "id", "") in arrays:
        return []
    if getattr(annotation, "id", getattr(annotation, "attr", "")) in ("ndarray", "Tensor"):
        return [annotation]
    return [found for part in ast.iter_child_nodes(annotation) for found in bare(part, arrays)]


def test_a_batch_is_as_annotated():
    torch = pytest.importorskip("torch")
    from training.data import Batch

    image, depth, k = torch.ones(2, 3, 4, 5), torch.ones(2, 1, 4, 5), torch.ones(2, 3, 3)
    batch = {"image": image, "z_depth": depth, "mask": depth > 0, "K": k, "id": ["a", "b"]}
    annotations.check(batch, Batch)
    with pytest.raises(jaxtyping.TypeCheckError, match=r"Batch.mask"):
        annotations.check({**batch, "mask": depth}, Batch)


def test_normal_use_knows_nothing_of_it():
    """Neither imported nor checked."""
    code = (
        "import sys, numpy as np, endorender.dataset, endorender.scene; from endorender.ct import voxels; "
        "assert not {'jaxtyping', 'beartype'} & set(sys.modules); voxels.beside(np.zeros((3, 3, 3), np.uint8))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
