"""`endorender`: a group that loads a command when it is asked for, and says a user's mistake in one line."""

from __future__ import annotations

import errno
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import click

# Threads of torch that wait for each other sleep: spinning costs four to six times as much where cores are busy.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # read when torch is loaded

COMMANDS = (
    "demo",
    "inspect",
    "render",
    "view",
    "fit",
    "verify",
    "check-geometry",
    "export",
    "train",
    "average",
    "evaluate",
    "predict",
    "report",
    "experiment",
    "export-model",
    "gallery",
    "list",
    "schema",
    "cite",
    "doctor",
)
# Packages that not every installation has, and the extra that brings them; `fit` needs no more than torch.
EXTRAS = {
    **dict.fromkeys(("torch", "lightning", "torchmetrics", "safetensors", "transformers", "peft", "kornia"), "train"),
    **dict.fromkeys(("onnx", "onnxruntime", "onnxscript"), "onnx"),
    "ray": "cluster",
    "viser": "view",
    "av": "video",
}
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO)
INTERRUPTED = 130  # as shells have it: 128 + SIGINT
CONTINUES = "interrupted; what was finished is kept: the same command with --resume continues"


class LazyGroup(click.Group):
    """Commands live in `cli.NAME`, in an object called `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"cli.{name.replace('-', '_')}").command
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """A mistyped command gets the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            from endorender.errors import unknown

            raise click.UsageError(unknown("command", args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Say after Ctrl-C, or where the disk refuses, how to go on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            self._interrupted(ctx)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRAS:
                raise
            extra = "fit" if ctx.invoked_subcommand == "fit" else EXTRAS[missing]
            fail(f"this needs {missing}; install it with: pip install 'endorender[{extra}]'", 2)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            # Not the file's name, which may be a patient's.
            goes_on = "the same command with --resume continues" if self._resumes(ctx) else "repeat the command"
            way = "free some room" if error.errno in FULL else "choose an --out that can be written"
            fail(f"the disk refuses: {os.strerror(error.errno)}; what was finished is kept: {way}, and {goes_on}", 2)
        except Exception as error:
            from endorender.errors import interrupted

            if not interrupted(error):
                raise
            self._interrupted(ctx)

    def _interrupted(self, ctx: click.Context) -> NoReturn:
        begins = "interrupted; what was finished is kept: the same command begins again"
        fail(CONTINUES if self._resumes(ctx) else begins, INTERRUPTED)

    def _resumes(self, ctx: click.Context) -> bool:
        command = self.get_command(ctx, ctx.invoked_subcommand or "")
        return command is not None and any(p.name == "resume" for p in command.params)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        """Run. Exit codes: 0 done, 2 the user's mistake (one line on stderr), 130 interrupted; a bug ends in a
        traceback."""
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _say(warnings.showwarning)
                result = super().main(*args, **{**kwargs, "standalone_mode": False})
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            sys.exit(2)
        except click.Abort:
            fail("interrupted", INTERRUPTED)
        except click.ClickException as error:
            fail(error.format_message(), 2)
        except ValueError as error:
            if not _is_user_error(error):
                raise
            fail(str(error), INTERRUPTED if getattr(error, "code", "") == "STOPPED" else 2)
        sys.exit(result if isinstance(result, int) else 0)


def _is_user_error(error: ValueError) -> bool:
    from endorender.errors import UserError

    return isinstance(error, UserError)


def _say(otherwise: Callable[..., None]) -> Callable[..., None]:
    """What shows warnings: our own as one line on stderr, others' as Python does."""

    def show(message: Any, category: type, *rest: Any, **named: Any) -> None:
        if category.__name__ == "Notice":  # by name: importing it would load what `--help` does not need
            click.echo(f"warning: {message}", err=True)
        else:
            otherwise(message, category, *rest, **named)

    return show


def fail(message: str, code: int) -> NoReturn:
    """Print `error: ...` in one line on stderr and exit."""
    click.echo(f"error: {' '.join(message.split())}", err=True)
    sys.exit(code)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="endorender", message="endorender %(version)s")
def main() -> None:
    """Cinematic path tracing of CT for endoscopic depth: render datasets, train networks, judge them."""
