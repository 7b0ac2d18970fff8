"""What ends a command: Ctrl-C in whatever dress, and refusals that can be printed."""

import signal
from types import SimpleNamespace
from typing import Annotated

import pytest
from click.testing import CliRunner
from pydantic import BaseModel, PlainSerializer
from pydantic_core import PydanticSerializationError

from cli.main import main
from endorender.dataset import configure, work
from endorender.errors import UserError


@pytest.fixture(autouse=True)
def heard():
    """Ctrl-C, even where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def converted():
    """Ctrl-C while pydantic calls Python: it comes out as an error of pydantic's."""

    class Row(BaseModel):
        at: Annotated[int, PlainSerializer(lambda value: signal.raise_signal(signal.SIGINT))]

    Row(at=1).model_dump_json()


def test_ctrl_c_that_a_library_turned_into_an_error_of_its_own_is_ctrl_c(tmp_path, monkeypatch):
    with pytest.raises(PydanticSerializationError):
        converted()
    monkeypatch.setattr("endorender.dataset.generate", lambda *args, **options: converted())
    assert (
        CliRunner().invoke(main, ["render", "--ct", "sample", "--out", str(tmp_path / "data")]).exit_code
        == 128 + signal.SIGINT
    )
    # Nor does a view count as failed by it.
    monkeypatch.setattr(work, "render_view", lambda *args: converted())
    renderer = work.Renderer(configure(ct="sample", views=1, preset="paper4"), {})
    renderer._ready = SimpleNamespace(alias="p001", view=lambda n: None)
    with pytest.raises(KeyboardInterrupt):
        list(renderer.render(work.Unit("p001", 0, ("p001/0000/synthetic",), True), lambda done, text: None))


def test_a_refusal_is_one_line_that_can_be_printed_whatever_stands_in_it():
    assert str(UserError("no camera is called 'a\n  b\x1b[31m\ud800'")) == r"no camera is called 'a b\x1b[31m\ud800'"
