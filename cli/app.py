"""The application that commands register with; what ``heddle`` takes before a command."""

import logging
import sys
from typing import Annotated

import typer

app = typer.Typer(
    name="heddle",
    help="Turn a quantized neural network into a verified FPGA accelerator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback(invoke_without_command=True)
def _options(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is decided on the way.")] = False,
) -> None:
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
    if show_version:
        from importlib.metadata import version

        print(f"heddle {version('heddle-fpga')}")
        raise typer.Exit
