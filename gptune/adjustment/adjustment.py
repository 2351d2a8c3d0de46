"""Automatic adjustment: watches a deployed model, re-tunes it when it slips, and hands over."""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Self

from msgspec.structs import replace

from gptune.adjustment import course, report, tuning
from gptune.adjustment.canary import Canary, Pairs, Params
from gptune.adjustment.course import Rules
from gptune.adjustment.duel import Verdict, verdict
from gptune.adjustment.records import Source, source_of, value_of
from gptune.adjustment.report import status_of, words
from gptune.adjustment.state import Order, Phase, State, Trigger, own, read_state, write_state
from gptune.adjustment.tuning import Tuned, Tuning, open_storage, tune, with_order
from gptune.errors import StateError, UsageError
from gptune.foreign import foreign_call
from gptune.online.clock import Clock, SystemClock
from gptune.run_directory.file_system import Disk, FileSystem
from gptune.study.storage import Storage

logger = logging.getLogger("gptune")
PATIENCE = 5.0  # that an order waits for a poll [s]


class AutomaticAdjustment:
    """Watches what a model does, tunes it again when it slips, and applies what is proven better.

    One poll reads what is new, and goes as far as it can: watch, then tune (a study in the
    directory, which resumes), then compare the candidate with what runs, then apply. Everything
    that is known lies in the directory, written before each deed: a process may be killed at any
    moment, and ``apply`` is never called twice for one adjustment.

    Args:
        collect: ``() -> records`` that are new, a file ``.jsonl``, or ``sqlite:///file#table``. A
            record is a mapping with ``success`` or ``metric``; a function may also give booleans
            or numbers.
        retrain: ``(params) -> candidate``, called for the best parameters of a study; also once a
            trial, with ``Tuning(retrain_each=True)``.
        apply: ``(candidate) -> None``: puts it in charge. If it raises it must have changed
            nothing; what ran before goes on then.
        study: What is tuned, and how much that may cost.
        canary: ``(candidate) -> pairs`` of what the running model and the candidate came to under
            the same circumstances, in a shadow run or on a share of the traffic; a generator is
            closed at the end, and may give ``None`` where nothing is new. Larger is better unless
            ``rules.direction`` says otherwise.
        directory: Where everything lies.
        rules: When to adjust, and how sure to be; its fields may be given instead.
        running: The parameters in force, if they are known: they are tried in each study.
        current: ``() -> params`` in force: asked only after a death while ``apply`` was called.
            Without it, that call is taken to have happened.
        clock: Tells the time.
        file_system: The disk.
        **fields: Of `Rules`: ``success_threshold``, ``adjustment_interval`` ...

    Raises:
        UsageError: Naming the argument that is wrong.
        RunDirectoryError: If another live process adjusts there.
        StateError: If the directory's state cannot be read.
    """

    def __init__(
        self,
        collect: Callable[[], Iterable[Any]] | str | Path,
        retrain: Callable[[Params], Any],
        apply: Callable[[Any], object],
        *,
        study: Tuning,
        canary: Callable[[Any], Pairs],
        directory: str | Path,
        rules: Rules | None = None,
        running: Params | None = None,
        current: Callable[[], Params] | None = None,
        clock: Clock | None = None,
        file_system: FileSystem | None = None,
        **fields: Any,
    ) -> None:
        for name, given in (("retrain", retrain), ("apply", apply), ("canary", canary)):
            if not callable(given):
                raise UsageError(f"{name}: must be a function, got {given!r}")
        self.rules = course.rules_of(rules, fields)
        self._source: Source = source_of(collect)
        self._retrain, self._apply, self._canary = retrain, apply, Canary(retrain, canary)
        self._tuning, self._current = study, current
        self._clock, self._files = clock or SystemClock(), file_system or Disk()
        self._directory = Path(directory)
        self._tuned: Tuned | None = None
        self._complaint, self._is_unwritten = "", False
        self._lock, self._stop = threading.RLock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._files.make_directory(self._directory)
        self._handle: int | None = own(self._files, self._directory)
        with contextlib.ExitStack() as stack:
            stack.callback(self.close)
            found = read_state(self._files, self._directory)
            self._state = found or course.start(self.rules, self._clock.now(), running)
            if found is None:  # reports that lie there are of an earlier life
                number = report.last_number(self._files, self._directory)
                self._keep(replace(self._state, number=number))
            self._recover()
            stack.pop_all()

    # from outside

    @property
    def state(self) -> State:
        """What is known."""
        return self._state

    @property
    def reports(self) -> list[dict[str, Any]]:
        """What came of each adjustment, the oldest first."""
        return report.read_reports(self._files, self._directory)

    def status(self) -> dict[str, Any]:
        """Say where it stands, as plain data."""
        state = course.at(self.rules, self._state, self._clock.now())
        waits = course.hindrances(self.rules, state)
        known = {"complaint": self._complaint, "is_running": self._is_alive}
        return {**status_of(state), "waits_for": list(waits), **known}

    def manual_tune(
        self,
        agent_name: str | None = None,
        algorithm: str | None = None,
        method: str | None = None,
        n_trials: int | None = None,
    ) -> None:
        """Let the next poll begin an adjustment, with what is given instead of what is set up.

        Args:
            agent_name: What the study is named after.
            algorithm: Of `gptune.presets`: its space is searched.
            method: ``bayesian``, ``random`` or ``grid``.
            n_trials: Trials [trials].

        Raises:
            UsageError: If one of them is unknown.
            StateError: If an adjustment is under way, or must wait.
        """
        wanted = Order(agent_name=agent_name, algorithm=algorithm, method=method, n_trials=n_trials)
        with_order(self._tuning, wanted)
        self._check_open("manual_tune")
        with contextlib.ExitStack() as stack:
            is_free = self._lock.acquire(timeout=PATIENCE)
            stack.callback(self._lock.release if is_free else bool)
            state = course.at(self.rules, self._state, self._clock.now())
            if state.phase is not Phase.WATCHING or not is_free:
                raise StateError(
                    f"manual_tune: adjustment {state.number} is under way; wait for it"
                )
            waits = course.hindrances(self.rules, state)
            if waits:
                raise StateError(f"manual_tune: must wait ({', '.join(waits)}); see status()")
            self._keep(course.order(state, wanted))

    def poll(self) -> Phase:
        """Read what is new, and go on as far as that is possible now.

        What your functions raise, and a disk that takes nothing, is contained, and stands in
        `status`; without a disk nothing is done.
        """
        self._check_open("poll")
        with self._lock:
            done = foreign_call(self._go_on)
            if done.error is not None:
                self._complain(f"the poll ended early: {done.message}")
            return self._state.phase

    def start(self, interval: float = 60.0) -> None:
        """Poll in a thread, every so many seconds, until `stop`.

        Raises:
            UsageError: If the interval is none.
        """
        if not interval > 0:
            raise UsageError(f"interval: must be positive [s], got {interval!r}")
        self._check_open("start")
        if not self._is_alive:
            self._thread = threading.Thread(
                target=self._run, args=(interval, self._stop), name="gptune-adjustment", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """End the thread: a study goes on where it was, at the next start."""
        self._stop.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self._stop = threading.Event()  # of the next one, and of who polls by hand

    def close(self) -> None:
        """Stop, and give the directory back."""
        self.stop()
        self._call_back()
        if self._is_unwritten:
            foreign_call(lambda: self._keep(self._state))
        handle, self._handle = self._handle, None
        if handle is not None:
            foreign_call(lambda: self._files.close(handle))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # inside

    def _run(self, interval: float, stop: threading.Event) -> None:
        while not stop.is_set():
            self.poll()
            stop.wait(interval)

    def _go_on(self) -> None:
        if self._is_unwritten:  # since the disk failed
            self._keep(self._state)
        self._recover()  # an interrupt may have left it where nobody knows
        self._read()
        if self._state.phase is Phase.WATCHING:
            self._begin()
        if self._state.phase is Phase.TUNING:
            self._tune()
        if self._state.phase is Phase.COMPARING:
            self._compare()

    def _read(self) -> None:
        read = self._source.read(self._state.position)
        if read.complaint:
            self._complain(read.complaint)
        found = [value_of(record, "success") for record in read.records]
        metrics = [value_of(record, "metric") for record in read.records]
        state = course.observe(
            self.rules,
            replace(self._state, position=read.position),
            [value for value in found if value is not None],
            [value for value in metrics if value is not None],
        )
        if state != self._state:  # what was read is not given again
            self._state, self._is_unwritten = state, True
            self._keep(state)

    def _begin(self) -> None:
        now = self._clock.now()
        trigger = course.due(self.rules, self._state, now)
        if trigger is not None:
            self._tuned = None
            self._keep(course.begin(self.rules, self._state, trigger, now))
            logger.info("gptune: adjustment %d begins (%s)", self._state.number, trigger.value)

    def _tune(self) -> None:
        state, stop = self._state, self._stop
        done = foreign_call(lambda: self._study(stop.is_set))
        if stop.is_set():
            return None  # it goes on later
        if done.value is None:
            return self._fail(f"tuning raised {done.message}")
        self._tuned = done.value
        next_ = course.tuned(self.rules, state, done.value.best, self._clock.now())
        if next_.phase is Phase.COMPARING:
            return self._keep(next_)
        found = "no trial gave a number" if done.value.best is None else "nothing better was found"
        return self._report(state, next_, "put_back", found)

    def _study(self, stopped: Callable[[], bool]) -> Tuned:
        state, wanted = self._state, with_order(self._tuning, self._state.order)
        with contextlib.closing(self._open_storage()) as storage:
            return tune(
                wanted,
                storage,
                state.number,
                running=state.running,
                retrain=self._retrain,
                now=self._clock.now(),
                stopped=stopped,
            )

    def _compare(self) -> None:
        """Take the pairs that are there; kept or put back, once that is sure."""
        if not self._canary.is_out:
            complaint = self._canary.send(dict(self._state.candidate or {}))
            if complaint:
                return self._fail(complaint)
        duel, complaint = self._canary.look(self.rules, self._state.duel, self._stop.is_set)
        self._keep(replace(self._state, duel=duel))
        return self._fail(complaint) if complaint else self._judge()

    def _judge(self) -> None:
        duel, state = self._state.duel, self._state
        found = verdict(self.rules.terms, duel)
        said = f"it won {duel.wins:g} of {duel.pairs} pairs"
        if found is Verdict.PUT_BACK:
            self._call_back()
            ended = course.put_back(self.rules, state, self._clock.now())
            self._report(state, ended, "put_back", said)
        elif found is Verdict.KEEP:
            self._hand_over(said)

    def _hand_over(self, said: str) -> None:
        """Apply the candidate; that it is about to be is on the disk before."""
        candidate = self._canary.candidate
        self._keep(course.applying(self._state))
        self._call_back()
        done = foreign_call(lambda: self._apply(candidate))
        now, state = self._clock.now(), self._state
        if done.error is not None:
            return self._fail(f"apply raised {done.message}")
        return self._report(state, course.kept(self.rules, state, now), "kept", said)

    def _recover(self) -> None:
        """End an adjustment that was broken off while ``apply`` was called: never call it again."""
        state, now = self._state, self._clock.now()
        if state.phase is not Phase.APPLYING:
            return None
        said, current = "it was broken off while it was applied; taken as applied", self._current
        asked = foreign_call(lambda: None if current is None else dict(current()))
        if asked.error is not None:
            self._complain(f"current raised {asked.message}")
        elif asked.value is not None and asked.value != state.candidate:
            ended = course.put_back(self.rules, state, now)
            why = "it was broken off before it was applied; what ran before runs"
            return self._report(state, ended, "put_back", why)
        elif asked.value is not None:
            said = "it was broken off after it was applied"
        return self._report(state, course.kept(self.rules, state, now), "kept", said)

    def _open_storage(self) -> Storage:
        return open_storage(self._directory, self._clock.now)

    def _what_was_tried(self) -> Tuned | None:
        """Give what the study has come to, also if another process has run it."""
        if self._tuned is not None:
            return self._tuned
        with contextlib.closing(self._open_storage()) as storage:
            wanted = with_order(self._tuning, self._state.order)
            return tuning.summary_of(wanted, storage, self._state.number, self._state.running)

    @property
    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _check_open(self, call: str) -> None:
        if self._handle is None:
            raise StateError(f"{call}: it is closed; make a new one on the same directory")

    def _fail(self, why: str) -> None:
        """End an adjustment on account of a failure: what ran before goes on."""
        self._complain(why)
        self._call_back()
        state = self._state
        self._report(state, course.put_back(self.rules, state, self._clock.now()), "put_back", why)

    def _report(self, before: State, after: State, ended: str, why: str) -> None:
        """End an adjustment: the report first, so that none is missing."""
        tuned = foreign_call(self._what_was_tried).value
        made = report.made_of(
            self.rules, before, tuned=tuned, verdict=ended, why=why, now=self._clock.now()
        )
        done = foreign_call(lambda: report.write_report(self._files, self._directory, made))
        if done.error is not None:
            self._complain(f"the report could not be written ({done.message})")
        logger.info("gptune: %s", words(made))
        kept = foreign_call(lambda: self._keep(after))
        if kept.error is not None:  # it has happened all the same
            self._state, self._is_unwritten = after, True
            self._complain(f"the state could not be written ({kept.message})")

    def _keep(self, state: State) -> None:
        """Write the state, then let it count.

        Raises:
            OSError: If the disk does not take it: then it is as before, and nothing is done.
        """
        write_state(self._files, self._directory, state)
        self._state, self._is_unwritten = state, False

    def _call_back(self) -> None:
        complaint = self._canary.call_back()
        if complaint:
            self._complain(complaint)

    def _complain(self, what: str) -> None:
        self._complaint = what
        logger.warning("gptune: %s", what)


__all__ = ["AutomaticAdjustment", "Trigger"]
