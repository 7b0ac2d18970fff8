"""The command line: quick to answer, one line for a mistake, and the right exit code."""

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from cli.main import COMMANDS, main
from cli.render import command as render_command
from endorender.dataset import PRESETS, RenderConfig
from endorender.dataset.variation import DESCRIPTIONS
from endorender.registry import REGISTRIES
from tests.dataset.made import contents

REPOSITORY = Path(__file__).parents[2]
HEAVY = ("taichi", "torch", "numpy", "pydantic", "rich", "matplotlib", "OpenEXR")


def run(*args):
    return CliRunner().invoke(main, [str(a) for a in args])


def mistake(*args):
    """Run; assert exit code 2 and one line on stderr; return the line."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit as end:\n"
        f"    assert end.code == 0\nassert not [m for m in {HEAVY} if m in sys.modules]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    assert all(re.search(rf"^  {name} +\S", done.stdout, re.M) for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    command = main.get_command(None, name)
    assert all(p.help for p in command.params if isinstance(p, click.Option))


def test_datasets_are_read_without_taichi_and_torch():
    code = "import sys, endorender.dataset\nassert not {'taichi', 'torch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)


def test_every_key_of_the_configuration_is_a_flag_and_the_help_tells_its_default():
    flags = {p.name: p for p in render_command.params}
    only_in_files = {"splits", "variations", "trajectory", "constraints"}
    assert set(RenderConfig.model_fields) - only_in_files <= set(flags)
    assert set(flags) - set(RenderConfig.model_fields) == {
        "out",
        "config",
        "resume",
        "only",
        "retry_failed",
        "dry_run",
        "preview",
        "workers",
        "cluster",
        "poses",
        "as_json",
    }
    config = RenderConfig(ct=["sample"])
    for name in ("preset", "views", "size", "spp", "seed", "surface", "device"):
        assert f"[{getattr(config, name)}]" in flags[name].help, name
    plain = RenderConfig(ct=["sample"], preset="synthetic")
    assert f"[the preset's, or {plain.camera['type']}]" in flags["camera"].help
    yes = [name for name in PRESETS if RenderConfig(ct=["sample"], preset=name).denoise]
    assert f"[{', '.join(yes)}: yes]" in flags["denoise"].help
    assert f"[{config.light['type']}]" in flags["light"].help
    assert f"[{config.coat['type']}]" in flags["coat"].help


def test_list_names_everything_registered_with_its_parameters():
    assert set(run("list").stdout.split()) == {*REGISTRIES, "network", "preset", "response", "trajectory"}
    for kind in REGISTRIES:
        shown = run("list", kind).stdout
        assert all(re.search(rf"^{name}  \S", shown, re.M) for name in REGISTRIES[kind]), kind
    assert "fov = 100.0  full horizontal angle, degrees" in run("list", "camera").stdout
    presets = run("list", "preset").stdout
    assert "deep_red" in presets
    assert all(text in presets for text in DESCRIPTIONS.values())
    assert set(DESCRIPTIONS) == set(PRESETS)
    assert "gamma = null  encodes by x^(1 / gamma); none: sRGB (≥ 0.2, ≤ 5)" in run("list", "response").stdout
    assert "did you mean 'camera'?" in mistake("list", "cameras")


def test_lists_load_neither_taichi_nor_torch():
    """Of any kind, whether a loop, a network or a file of kernels stands behind its names."""
    code = (
        "import sys\nfrom cli.list import entries, kinds\n"
        "for kind in kinds():\n    assert entries(kind) is not None\n"
        "    assert not (found := {'taichi', 'quadrants', 'torch'} & set(sys.modules)), (kind, found)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr


def test_list_gives_programs_everything_that_is_known():
    found = json.loads(run("list", "--json").stdout)
    assert set(found) == {*REGISTRIES, "network", "preset", "response", "trajectory"}
    (fov,) = (p for e in found["camera"] if e["name"] == "pinhole" for p in e["parameters"] if p["name"] == "fov")
    assert fov["default"] > 0
    assert {e["name"] for e in json.loads(run("list", "light", "--json").stdout)} == set(REGISTRIES["light"])


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(name):
    assert f"Example: endorender {name}" in run(name, "--help").stdout


def test_without_a_command_the_help_is_shown_whole():
    result = run()
    assert result.exit_code == 2
    assert result.stderr.count("\n") > len(COMMANDS)
    assert not result.stderr.startswith("error")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("rendr",), "did you mean 'render'?"),
        (("render", "--ct", "sample", "--out", "x", "--presett", "paper4"), "--preset"),
        (("render", "--ct", "sample", "--out", "x", "--preset", "paper"), "did you mean 'paper4'?"),
        (
            ("render", "--ct", "sample", "--out", "x", "--camera", "pinhole:fvo=90"),
            "'fov'?); valid keys: c",
        ),
        (("render", "--ct", "sample", "--out", "x", "--camera", "pinhol"), "did you mean 'pinhole'?"),
        (("render", "--ct", "sample", "--out", "x", "--response", "gama=2"), "did you mean 'gamma'?"),
    ],
)
def test_a_mistyped_name_gets_the_nearest_one(args, words):
    assert words in mistake(*args)


def test_what_was_got_is_said_once(tmp_path):
    assert mistake("render", "--ct", "sample", "--out", tmp_path / "x", "--size", "320*240").count("320*240") == 1


def test_doctor(monkeypatch):
    monkeypatch.setattr("endorender.trial.DEVICES", ("cpu",))  # the others: tests/render/test_devices.py
    facts = json.loads(run("doctor", "--json").stdout)
    assert facts["taichi"] == "1.7.4"
    assert "extra denoise" in facts
    assert facts["device cpu"] == "works"
    monkeypatch.setattr("cli.doctor._devices", dict)
    assert "processors" in run("doctor").stdout


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--ct", "sample", "--size", "0"), "WIDTHxHEIGHT"),
        (("--ct", "sample", "--views", "0"), "views"),
        (("--ct", "sample", "--spp", "many"), "not a valid integer"),
        (("--ct", "sample", "--sp", "1"), "No such option"),
        (("--ct", "sample", "--camera", "pinhole:fov=400"), "fov"),
        (("--ct", "nowhere"), "the path of the scan cannot be opened"),
        (("--ct", "sample", "--device", "fpga"), "device: input should be 'cpu', 'cuda', 'vulkan' or 'metal'"),
        ((), "ct: missing"),
    ],
)
def test_render_refuses_in_one_line(tmp_path, args, words):
    assert words in mistake("render", "--out", tmp_path / "data", *args)
    assert not (tmp_path / "data").exists()


def test_a_folder_without_ct_and_a_truncated_file(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no CT here")
    whole = next((REPOSITORY / "endorender" / "ct" / "samples").glob("*.nii.gz")).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "void.nii").write_bytes(b"")
    for source in ("empty", "cut.nii.gz", "void.nii"):
        mistake("inspect", tmp_path / source)
        mistake("render", "--ct", tmp_path / source, "--out", tmp_path / "out" / source)
        assert not (tmp_path / "out" / source).exists()


def test_configuration_files(tmp_path):
    file = tmp_path / "c.yaml"
    for text, words in [("ct: sample\nvews: 3\n", "vews: unknown key"), ("ct: sample\nct: sample\n", "twice")]:
        file.write_text(text)
        assert words in mistake("render", "--config", file, "--out", tmp_path / "data")
    assert "none.yaml" in mistake("render", "--config", tmp_path / "none.yaml", "--out", tmp_path / "data")


def test_a_foreign_folder_is_left_alone(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"holiday")
    assert "holds 1 other files" in mistake("render", "--ct", "sample", "--out", tmp_path)
    assert contents(tmp_path) == {"photo.jpg": b"holiday"}


@pytest.mark.parametrize(
    ("number", "command", "words"),
    [
        (
            errno.ENOSPC,
            "training.trainer.train",
            "No space left on device; what was finished is kept: free some room",
        ),
        (errno.EROFS, "training.trainer.train", "an --out that can be written, and the same command with --resume"),
        (errno.ENOSPC, "training.evaluate.evaluate", "free some room, and repeat the command"),
        (errno.EACCES, "training.report.report", "Permission denied"),
        (errno.EDQUOT, "training.export.export_model", "Disk quota exceeded"),
    ],
)
def test_what_the_disk_refuses_is_one_line(tmp_path, monkeypatch, number, command, words):
    def full(*args, **kwargs):
        raise OSError(number, os.strerror(number), "/data/MUELLER_HANS")

    monkeypatch.setattr(command, full)
    name = command.rpartition(".")[2].replace("_", "-")
    arguments = ("--data", tmp_path) if name == "evaluate" else ()
    said = mistake(name, tmp_path, *arguments, "--out", tmp_path / "out")
    assert words in said
    assert "MUELLER" not in said


@pytest.mark.parametrize(
    ("absent", "arguments", "extra"),
    [
        ("torch", ("train", "data", "--out", "run"), "train"),
        ("torch", ("fit", "--ct", "sample", "--images", "p", "--camera", "c", "--out", "o"), "fit"),
        ("torch", ("evaluate", "run", "--data", "data", "--out", "out"), "train"),
        ("lightning", ("train", "data", "--out", "run"), "train"),
        ("viser", ("view", "sample"), "view"),
    ],
)
def test_an_extra_that_is_missing_is_named(tmp_path, absent, arguments, extra):
    # In a process of its own: what is loaded here already could not be missed.
    code = f"import sys\nsys.modules[{absent!r}] = None\nfrom cli.main import main\nmain({list(arguments)!r})"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert found.returncode == 2, found.stderr
    assert f"pip install 'endorender[{extra}" in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_bug_ends_in_a_traceback(monkeypatch):
    monkeypatch.setattr("cli.doctor.checkup", lambda: 1 / 0)
    result = run("doctor")
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.fixture
def strangers(tmp_path):
    """A folder with packages of others that bear our generic names."""
    for name in ("cli", "training", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('a stranger was imported')\n")
    return tmp_path


@pytest.mark.parametrize("how", ["script", "module"])
def test_runs_beside_foreign_packages_of_the_same_names(strangers, how):
    script = Path(sys.executable).with_name("endorender")
    if how == "script" and not script.exists():
        pytest.skip("the script exists where endorender is installed, as by `make test` and in CI")
    command = [str(script)] if how == "script" else [sys.executable, "-m", "endorender"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    for args in (["list", "model"], ["--version"]):
        done = subprocess.run([*command, *args], cwd=strangers, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("endorender ")


def test_a_device_that_is_missing_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    from endorender.errors import UserError

    def missing(device):
        raise UserError(f"device {device!r} does not work here", "NO_DEVICE")

    monkeypatch.setattr("endorender.render.init", missing, raising=False)
    assert "'cuda' does not work here" in mistake(
        "render", "--ct", "sample", "--device", "cuda", "--out", tmp_path / "data"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("given", "found"), [(None, "passive"), ("active", "active")])
def test_waiting_threads_sleep_unless_told_otherwise(given, found):
    kept = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    code = "import cli.main, os, sys; print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=kept | ({"OMP_WAIT_POLICY": given} if given else {}),
        capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert done.stdout == f"{found} False\n"
