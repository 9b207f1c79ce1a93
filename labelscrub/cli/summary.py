"""What a person sees when a run has ended: the finding first, then what to look at, then where it is."""

from __future__ import annotations

from typing import Any

from labelscrub.cli.console import duration, printable, result_console
from labelscrub.records import Report, Summary
from labelscrub.reporting.text import calibrated_sentence, calibration_figures, error_share

TOP = 10
NAME = 48  # characters of a label shown


def print_summary(report: Report, *, brief: bool = False, verbose: bool = False) -> None:
    """Counts, noise rate, worst classes, confused pairs, the top ten, the files; one line where `brief`."""
    console = result_console()
    console.print(_text(headline(report.summary), "bold"), soft_wrap=brief or not console.is_terminal)
    if brief:
        return
    if report.summary.calibration is not None:
        console.print(_text(calibration_figures(report.summary.calibration)))
    console.print(_text(counts(report.summary)))
    _print_classes(console, report.summary)
    _print_top(console, report)
    for note in report.summary.notes:
        console.print(_text(f"note: {note}", "dim"))
    if verbose:
        for name, value in report.provenance.items():
            console.print(_text(f"{name}: {value}", "dim"))
    if report.out is not None:
        console.print(_text(f"\n{_page(report)}", "bold"))
        console.print(_text(files(report)), soft_wrap=True)


def headline(summary: Summary) -> str:
    """312 of 9,998 labels look wrong (3.1 %); estimated noise rate 4.0 %."""
    if summary.calibration is not None:
        sentence = calibrated_sentence(summary.calibration, summary.suspects, summary.used)
    else:
        sentence = (
            f"{summary.suspects:,} of {summary.used:,} labels look wrong ({summary.suspect_rate:.1%}); "
            f"estimated noise rate {summary.estimated_noise_rate:.1%}"
        )
    if summary.conflicts:
        sentence += f"; {summary.conflicts:,} images are copies with conflicting labels"
    return sentence


def counts(summary: Summary) -> str:
    """listed = used + unreadable + missing + skipped, and the commonest reasons."""
    line = (
        f"{summary.listed:,} listed = {summary.used:,} used + {summary.unreadable:,} unreadable "
        f"+ {summary.missing:,} missing + {summary.skipped:,} skipped"
    )
    reasons = sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0]))
    if reasons:
        shown = ", ".join(f"{reason} ({count:,})" for reason, count in reasons[:4])
        line += f"\n  {shown}" + (f" and {len(reasons) - 4} more reasons" if len(reasons) > 4 else "")
    return line + f"\naccuracy against the given labels {summary.accuracy:.1%}"


def files(report: Report) -> str:
    """Where the results are and what to type next."""
    assert report.out is not None
    clean = report.provenance.get("clean", "")
    lines = [
        f"{report.out / 'suspects.csv'}   the ranked list",
        f"{report.out / clean}   the cleaned manifest; paths relative to {report.provenance['image_root']}",
    ]
    times = report.provenance.get("times", {})
    if times:
        lines.append("took " + ", ".join(f"{stage} {duration(seconds)}" for stage, seconds in times.items()))
    return "\n".join(lines)


def _page(report: Report) -> str:
    assert report.out is not None
    return f"look at them: {report.out / 'report.html'}"


def _name(label: str) -> str:
    """A label that fits a table, whatever its length."""
    return label if len(label) <= NAME else f"{label[: NAME - 12]}...{label[-9:]}"


def _text(content: str, style: str = "") -> Any:
    from rich.text import Text

    # Text, never a markup string: a class named [/red] is a class, not a tag.
    return Text(printable(content), style=style)


def _print_classes(console: Any, summary: Summary) -> None:
    from rich.table import Table

    worst = sorted(summary.classes, key=lambda c: -(c.suspects / c.images if c.images else 0))
    worst = [c for c in worst if c.suspects][:5]
    if worst:
        table = Table(
            title="Worst classes", title_justify="left", box=None, header_style="dim", pad_edge=False
        )
        table.add_column("label", overflow="fold")
        for name in ("images", "suspects", "share", "accuracy"):
            table.add_column(name, justify="right")
        for c in worst:
            share = c.suspects / c.images
            cells = (f"{c.images:,}", f"{c.suspects:,}", f"{share:.1%}", f"{c.accuracy:.1%}")
            table.add_row(_text(_name(c.label)), *cells)
        console.print("", table, sep="\n")
    pairs = summary.confused_pairs[:5]
    if pairs:
        arrow = "\N{RIGHTWARDS ARROW}"
        shown = "; ".join(f"{_name(p.given)} {arrow} {_name(p.suggested)} ({p.count:,})" for p in pairs)
        console.print(_text(f"\nMost confused (given {arrow} suggested): {shown}"))
    if summary.not_assessed:
        names = ", ".join(map(_name, summary.not_assessed[:8])) + (
            " ..." if len(summary.not_assessed) > 8 else ""
        )
        console.print(_text(f"Not assessed (too few images, or all in one fold): {names}", "yellow"))


def _print_top(console: Any, report: Report) -> None:
    from rich.table import Table

    f = report.findings
    shown = [int(i) for i in f.order()[:TOP] if f.is_suspect[i] or f.conflict[i]]
    if not shown:
        return
    table = Table(
        title="Look at these first", title_justify="left", box=None, header_style="dim", pad_edge=False
    )
    table.add_column("#", justify="right")
    table.add_column("given", overflow="fold")
    table.add_column("suggested", overflow="fold")
    calibrated = report.summary.calibration is not None
    table.add_column("wrong" if calibrated else "score", justify="right")
    table.add_column("image", overflow="fold")
    for row in map(report.row, shown):
        labels = (_text(_name(row[name])) for name in ("given_label", "suggested_label"))
        sure = error_share(row["error_probability"]) if calibrated else f"{row['score']:.3f}"
        table.add_row(str(row["rank"]), *labels, sure, _text(row["path"]))
    console.print("", table, sep="\n")
