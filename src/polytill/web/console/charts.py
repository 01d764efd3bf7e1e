"""Charts as shapes on a 720 × 220 canvas, drawn by a template as SVG: no script, and a table beside each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 720, 220
LEFT, RIGHT, TOP, BOTTOM = 92, 8, 14, 30


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle of a series (1 to 4), with its tooltip."""

    x: str
    y: str
    width: str
    height: str
    series: int
    title: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A label on an axis, and its position."""

    at: str
    text: str


@dataclass(frozen=True, slots=True)
class Chart:
    """All shapes of one chart."""

    bars: list[Bar]
    line: str
    dots: list[tuple[str, str, str]]
    marks_x: list[Mark]
    marks_y: list[Mark]

    width, height = WIDTH, HEIGHT
    left, right, floor = LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM


def _at(value: int, most: int) -> int:
    """The height of a value above the base line, in thousandths of a pixel."""
    return (HEIGHT - TOP - BOTTOM) * 1000 * value // most


def _px(thousandths: int) -> str:
    return f"{thousandths // 1000}.{abs(thousandths) % 1000:03d}".rstrip("0").rstrip(".")


def round_up(value: int) -> int:
    """The next higher number that is easy to read on an axis of four steps."""
    step = 1
    while step * 40 < value:
        step *= 10
    return next(step * times for times in (4, 8, 12, 20, 40) if step * times >= value)


def _marks_y(most: int, label: Callable[[int], str]) -> list[Mark]:
    floor = (HEIGHT - BOTTOM) * 1000
    return [Mark(_px(floor - _at(most * n // 4, most)), label(most * n // 4)) for n in range(5)]


def _slot(days: int) -> int:
    return (WIDTH - LEFT - RIGHT) * 1000 // days


def _marks_x(labels: Sequence[str]) -> list[Mark]:
    """Every fifth day of a month, without a last day that would be cut off."""
    slot = _slot(len(labels))
    return [
        Mark(_px(LEFT * 1000 + slot * n + slot // 2), labels[n])
        for n in range(0, len(labels), 5)
        if n == 0 or n < len(labels) - 1
    ]


def stacked(
    labels: Sequence[str],
    series: Sequence[Sequence[int]],
    titles: Callable[[int, int], str],
    axis: Callable[[int], str],
    least: int,
) -> Chart:
    """A stacked bar of several series for each day. The axis reaches at least ``least``."""
    most = round_up(max([least, *(sum(values) for values in zip(*series, strict=True))]))
    slot, floor, bars = _slot(len(labels)), (HEIGHT - BOTTOM) * 1000, []
    for day in range(len(labels)):
        top = 0
        for number, values in enumerate(series):
            if values[day] <= 0:
                continue
            low, high = _at(top, most), _at(top + values[day], most)
            x, width = LEFT * 1000 + slot * day + slot * 15 // 100, slot * 70 // 100
            height = max(high - low, 1000)
            bars.append(
                Bar(_px(x), _px(floor - low - height), _px(width), _px(height), number % 4 + 1, titles(number, day))
            )
            top += values[day]
    return Chart(bars, "", [], _marks_x(labels), _marks_y(most, axis))


def shares(
    labels: Sequence[str], values: Sequence[int | None], title: Callable[[int], str], axis: Callable[[int], str]
) -> Chart:
    """A line of shares in percent, without the days that have no value."""
    slot, floor = _slot(len(labels)), (HEIGHT - BOTTOM) * 1000
    dots = [
        (_px(LEFT * 1000 + slot * day + slot // 2), _px(floor - _at(value, 100)), title(day))
        for day, value in enumerate(values)
        if value is not None
    ]
    line = " ".join(f"{x},{y}" for x, y, _ in dots)
    return Chart([], line, dots, _marks_x(labels), _marks_y(100, axis))
