"""What `bench speed` and `bench scale` print."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelscrub.cli.console import printable, result_console

if TYPE_CHECKING:
    from labelscrub.evaluation.measured import Measured


def print_measured(measured: Measured, *, brief: bool) -> None:
    """The tables, how they were measured, notes and files."""
    from rich.table import Table
    from rich.text import Text

    console = result_console()

    def say(line: str) -> None:
        console.print(Text(printable(line)), soft_wrap=True)

    say(measured.title)
    for table in measured.tables:
        drawn = Table(box=None, pad_edge=False)
        for number, column in enumerate(table.columns):
            drawn.add_column(Text(column), justify="right" if number else "left", overflow="fold")
        for cells in table.lines:
            drawn.add_row(*(Text(printable(cell)) for cell in cells))
        say(f"\n{table.title}")
        console.print(drawn)
    say("")
    for line in measured.legend:
        say(line)
    if brief:
        return
    for note in measured.notes:
        say(f"note: {note}")
    for file in measured.files:
        say(str(file))
