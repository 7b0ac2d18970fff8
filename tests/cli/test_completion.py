"""What a shell offers after each option, through click's own completion."""

import importlib
import os
import re
import subprocess
import sys
from typing import get_args

import click
import pytest
from click.shell_completion import ShellComplete

from cli.list import SINGLE, entries, kinds
from cli.main import COMMANDS, main
from endorender.dataset import RenderConfig
from endorender.scene import LOOKS
from training.config import TrainConfig

SAID = re.compile(r"[Ss]ee: list (\w+)")


def offered(*typed):
    """Values and kinds of what is offered for the last of these words."""
    found = ShellComplete(main, {}, "endorender", "_ENDORENDER_COMPLETE").get_completions(list(typed[:-1]), typed[-1])
    return {item.value: item.type for item in found}


def options():
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        for parameter in command.params:
            said = SAID.search((isinstance(parameter, click.Option) and parameter.help) or "")
            if said and "@DIR" not in (parameter.metavar or ""):  # a folder, which a layout may lead
                yield name, parameter.opts[0], said[1]


@pytest.mark.parametrize(("command", "option", "kind"), list(options()))
def test_options_offer_the_names_that_their_help_speaks_of(command, option, kind):
    names = {entry["name"] for entry in entries(kind)} - ({kind} if kind in SINGLE else set())
    found = set(offered(command, option, ""))
    if (command, option) == ("fit", "--look"):
        assert found == set(LOOKS)
    elif kind == "poses":
        assert found == {f"{name}@" for name in names} | {""}
    else:
        assert names <= found <= names | {"auto", "none"}
    assert found


def test_some_options_speak_of_lists():
    assert len(list(options())) > 12


@pytest.mark.parametrize("key", ["surface", "boundary"])
def test_keys_offer_what_they_may_be(key):
    assert set(offered("render", f"--{key}", "")) == set(get_args(RenderConfig.model_fields[key].annotation))


def test_words_are_those_of_the_code():
    experiments = importlib.import_module("training.experiments")
    presets = importlib.import_module("training.presets")
    predict = importlib.import_module("training.predict")
    assert set(offered("experiment", "")) == set(experiments.EXPERIMENTS)
    assert set(offered("experiment", "adapt", "--preset", "")) == set(presets.PRESETS)
    assert set(offered("experiment", "adapt", "--until", "")) == set(get_args(experiments.Until))
    assert set(offered("predict", "--formats", "")) == set(predict.FORMATS)
    assert set(offered("train", "--fine-tune", "")) == set(get_args(TrainConfig.model_fields["fine_tune"].annotation))
    assert set(offered("list", "")) == set(kinds())


def test_what_was_typed_is_gone_on_with():
    assert set(offered("render", "--camera", "pin")) == {"pinhole"}
    assert set(offered("rend")) == {"render"}
    assert set(offered("evaluate", "run", "--protocol", "metric,me")) == {"metric,median"}  # metric is there
    assert "2=pale_pink" in offered("render", "--label-tissue", "2=pale")
    assert set(offered("render", "--depth", "median,")) == {"median,surface", "median,expected"}
    assert offered("render", "--camera", "nothing") == {}


def test_scans_are_files_the_sample_and_phantoms():
    found = offered("render", "--ct", "")
    assert {"sample", "phantom:1"} < set(found)
    assert found[""] == "file"
    assert offered("inspect", "/da") == {"/da": "file"}


def test_a_package_that_fails_is_silent(monkeypatch, capsys):
    listing = importlib.import_module("cli.list")

    def fails(kind):
        import warnings

        from endorender.errors import Notice, UserError

        warnings.warn("a plugin is broken", Notice, stacklevel=1)
        raise UserError("it cannot be imported", "PLUGIN")

    monkeypatch.setattr(listing, "entries", fails)
    assert offered("render", "--camera", "p") == {}
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_asks_the_program(shell):
    code = "from cli.main import main; main(prog_name='endorender')"
    typed = {"COMP_WORDS": "endorender render --light endo", "COMP_CWORD": "endo" if shell == "fish" else "3"}
    for wanted, said in ((f"{shell}_source", "_endorender_completion"), (f"{shell}_complete", "endoscope")):
        environment = os.environ | typed | {"_ENDORENDER_COMPLETE": wanted}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
        assert done.stderr == ""
        assert said in done.stdout
