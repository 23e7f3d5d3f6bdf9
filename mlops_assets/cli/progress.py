"""How far something is that takes a while: the graph's assets, anything that counts, and what merely goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from mlops_assets.kernel.words import Words

if TYPE_CHECKING:
    from mlops_assets.orchestration.refresh import Progress as Step
    from mlops_assets.orchestration.refresh import Refresh


@contextmanager
def counting(words: str, *, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal, on stderr, and lend what moves it to how many are done."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def telling() -> Iterator[Callable[[str], None]]:
    """Show on a terminal, on stderr, what is being done and for how long, and lend what says what begins."""
    console = Console(stderr=True)
    columns = (SpinnerColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as line:
        task = line.add_task("", total=None)
        yield lambda what: line.update(task, description=what)


class Reporter:
    """Says each step once it is done. On a terminal a bar below the lines shows that work goes on in between."""

    def __init__(self, console: Console, words: Words) -> None:
        self._console, self._words = console, words
        columns = (
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        bar = Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False)
        self._bar = bar if console.is_terminal else None
        self._task = None if self._bar is None else self._bar.add_task("", total=None)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def hear(self, step: Step) -> None:
        """Tell one finished or failed step."""
        if step.failure is not None:
            line = f"{self._words.say('failed', step=str(step.target))}: {step.failure}"
        else:
            line = self._words.say(
                "materialised",
                done=step.done,
                total=step.total,
                asset=str(step.target),
                seconds=f"{step.seconds:.1f}",
            )
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=step.done, total=step.total)

    def conclude(self, refresh: Refresh) -> None:
        """Say how much was right already, and how much waits for what failed."""
        if refresh.untouched:
            self._console.print(self._words.say("already_right", count=refresh.untouched))
        if refresh.waiting:
            names = ", ".join(str(target) for target in refresh.waiting)
            self._console.print(self._words.say("waiting", count=len(refresh.waiting), assets=names), soft_wrap=True)
