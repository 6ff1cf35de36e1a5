"""Trackers beside the run folder, each in a thread of its own: they neither slow a run nor end it.

What fails in one is a warning, once, and the run goes on without it: `metrics.jsonl` has everything.
"""

import contextlib
import importlib
import importlib.util
import io
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from easydel.display.display import SILENT, Display
from easydel.errors import warn
from easydel.trainers.options.trackers import TRACKERS
from easydel.trainers.record.tracker import About, Tracker
from easydel.trainers.record.unwritten import keep

SECONDS_TO_START, SECONDS_TO_FINISH = 10.0, 60.0  # of waiting; a tracker that needs longer goes on behind the run
# A setting whose name has one of these words in it is passed to no tracker.
_SECRET = re.compile(r"(^|_)(token|secrets?|passwords?|api_?keys?|credentials?)(_|$)", re.IGNORECASE)

T = TypeVar("T")


class Trackers:
    """The trackers of a run that could be started; without one, calls do nothing.

    Args:
        names: of `options.trackers.TRACKERS`.
        about: the run. Settings that may be secret are left out.
        display: says where to look.
    """

    def __init__(self, names: Sequence[str], about: About, *, display: Display = SILENT) -> None:
        self._display = display
        about = about._replace(settings=without_secrets(about.settings))
        # Some print how to look at them as they start, which would break a bar or a line of JSON.
        with contextlib.redirect_stdout(io.StringIO()):
            self._lines = [_Line(name, about) for name in names if _is_installed(name)]
            wait([line.started for line in self._lines], timeout=SECONDS_TO_START)
        for line in self._lines:
            line.check()
        self._say_where()

    def _say_where(self) -> None:
        """Says once of each tracker where to look, as soon as it is known."""
        for line in self._lines:
            if line.where and not line.reported:
                line.reported = True
                self._display.say(line.where)

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Hands on the metrics of a step, those that are finite."""
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        for line in self._lines:
            line.do(lambda tracker: tracker.log(step, finite))
        self._say_where()  # of one that took longer to start than the run waits for

    def samples(self, step: int, samples: Sequence[Mapping[str, Any]]) -> None:
        """Hands on the answers to the sample prompts."""
        for line in self._lines:
            line.do(lambda tracker: tracker.samples(step, samples))

    def finish(self, *, failed: bool) -> None:
        """Ends the run at every tracker, and waits for those that have something to send."""
        last = [line.do(lambda tracker: tracker.finish(failed=failed)) for line in self._lines]
        with self._display.work("trackers", unit=""), contextlib.redirect_stdout(io.StringIO()):
            late = wait([future for future in last if future is not None], timeout=SECONDS_TO_FINISH).not_done
        for line, future in zip(self._lines, last, strict=True):
            line.close(late=future in late)


class _Line:
    """One tracker and the thread that it lives in.

    That is no thread of a pool: Python waits for those before it ends, and a tracker may hang.
    """

    def __init__(self, name: str, about: About) -> None:
        self._name = name
        self._waiting: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._given: deque[Future[Any]] = deque()
        self._failed = False
        self.reported = False
        Thread(target=self._work, name=f"tracker-{name}", daemon=True).start()
        self._place = ""
        self.started: Future[Tracker] = self._give(lambda: self._begun(name, about))

    @property
    def where(self) -> str:
        """Where to look; "" while that is not known."""
        return "" if self._failed else self._place

    def do(self, job: Callable[[Tracker], None]) -> Future[None] | None:
        """Gives the thread a job, unless one has failed before."""
        self.check()
        return None if self._failed else self._give(lambda: job(self.started.result()))

    def check(self) -> None:
        """Looks at the jobs that are done; the first that failed is the last."""
        while self._given and self._given[0].done():
            error = self._given.popleft().exception()
            if error is not None and not self._failed:
                self._failed = True
                reason = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
                warn(f"{self._name} failed, and the run goes on without it; metrics.jsonl has everything: {reason}")
                keep(self._name, f"{reason}. metrics.jsonl has everything.")

    def close(self, *, late: bool) -> None:
        """Looks at the last jobs and lets the thread end."""
        self.check()
        self._waiting.put(None)
        if late:
            late_words = f"has not finished after {SECONDS_TO_FINISH:.0f} s; it goes on until the process ends."
            warn(f"{self._name} {late_words}")
            keep(self._name, f"It {late_words} metrics.jsonl has everything.")

    def _give(self, job: Callable[[], T]) -> Future[T]:
        future: Future[T] = Future()
        self._given.append(future)
        self._waiting.put((future, job))
        return future

    def _begun(self, name: str, about: About) -> Tracker:
        tracker = start(name, about)
        self._place = tracker.where  # asked here, where it may fail
        return tracker

    def _work(self) -> None:
        """Does one job after another; what follows one that failed is not done."""
        failure: BaseException | None = None
        while (given := self._waiting.get()) is not None:
            future, job = given
            if failure is not None:
                future.set_exception(failure)
                continue
            try:
                future.set_result(job())
            except BaseException as error:  # noqa: BLE001  # even an exit: it is found in the future, as with a pool
                failure = error
                future.set_exception(error)


def without_secrets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the settings but those that have a secret for a value, by their names.

    >>> without_secrets({"generation_max_new_tokens": 64, "hub_token": "hf_..."})
    {'generation_max_new_tokens': 64}
    """
    return {name: value for name, value in settings.items() if not _SECRET.search(name)}


def start(name: str, about: About) -> Tracker:
    """Returns the run at the tracker of that name, which is started; imports its package."""
    return importlib.import_module(f"easydel.trainers.record.tracker_{name}").Run(about)


def _is_installed(name: str) -> bool:
    if importlib.util.find_spec(TRACKERS[name]) is not None:
        return True
    warn(
        f"{name} was asked for (report_to, use_wandb), but {TRACKERS[name]} is not installed: this run is logged "
        f"without it, in metrics.jsonl. Install it with `pip install '.[{name}]'` in a checkout."
    )
    return False
