"""Which texts run together. `Pool` is pure; `Batcher` joins the calls on one model and feeds a `Crew` of threads."""

from __future__ import annotations

import bisect
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from bridge import metrics
from bridge.engines.crew import Crew, Task
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import Encoded, Text

T = TypeVar("T")

LEAST_FILL = 0.75
"""Shortest over longest text of a batch: what is padded stays below a quarter."""
SHORT = 16
"""Tokens up to which padding costs less than a batch of its own."""
TOKENIZE_SLICE = 16
"""Texts tokenised in one go, so that a big call is tokenised by several threads."""


@dataclass(frozen=True)
class Limits:
    """`token_budget` counts padded tokens of a batch; `max_waiting` texts (a lone call of any size is let in).

    `split` divides what waits among the free threads; off for a GPU, which one batch fills.
    """

    token_budget: int = 384
    max_texts: int = 64
    max_waiting: int = 4096
    split: bool = True


class Pool(Generic[T]):
    """Texts that wait for a run, in order of length; the oldest one is always in the next batch."""

    def __init__(self) -> None:
        self._sorted: list[tuple[int, int, T]] = []
        self._ages: deque[tuple[int, int]] = deque()
        self._gone: set[int] = set()
        self._numbers = itertools.count()
        self.tokens = 0

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[T]:
        return (entry[2] for entry in self._sorted)

    def add(self, length: int, item: T) -> None:
        """Put one text of `length` tokens in."""
        number = next(self._numbers)
        bisect.insort(self._sorted, (length, number, item), key=lambda entry: entry[:2])
        self._ages.append((length, number))
        self.tokens += length

    def take(self, token_budget: int, max_texts: int) -> list[T]:
        """The oldest text and those nearest to it in length, within the budget (one text may exceed it alone)."""
        if not self._sorted:
            return []
        while self._ages[0][1] in self._gone:
            self._gone.discard(self._ages.popleft()[1])
        oldest = bisect.bisect_left(self._sorted, self._ages[0], key=lambda entry: entry[:2])
        low, high = _window([entry[0] for entry in self._sorted], oldest, token_budget, max_texts)
        return self._remove(low, high)

    def discard(self, unwanted: Callable[[T], bool]) -> int:
        """Take out what is unwanted; how many there were."""
        before = len(self._sorted)
        kept = [entry for entry in self._sorted if not unwanted(entry[2])]
        numbers = {entry[1] for entry in kept}
        self._sorted = kept
        self._ages = deque(age for age in self._ages if age[1] in numbers)
        self._gone.clear()
        self.tokens = sum(entry[0] for entry in kept)
        return before - len(kept)

    def _remove(self, low: int, high: int) -> list[T]:
        taken = self._sorted[low:high]
        del self._sorted[low:high]
        self._gone.update(entry[1] for entry in taken)
        self.tokens -= sum(entry[0] for entry in taken)
        return [entry[2] for entry in taken]


def _window(lengths: Sequence[int], anchor: int, token_budget: int, max_texts: int) -> tuple[int, int]:
    """The slice of ascending `lengths` around `anchor` that is run together; longer neighbours are asked first.

    Going up first leaves no long text behind that would later run alone beside shorter ones.
    """
    low, high = anchor, anchor + 1
    while high - low < max_texts:
        up = high < len(lengths) and _fits(lengths[low], lengths[high], high - low + 1, token_budget)
        down = low > 0 and _fits(lengths[low - 1], lengths[high - 1], high - low + 1, token_budget)
        if up and (not down or lengths[high] - lengths[high - 1] <= lengths[low] - lengths[low - 1]):
            high += 1
        elif down:
            low -= 1
        else:
            break
    return low, high


def _fits(shortest: int, longest: int, count: int, token_budget: int) -> bool:
    return longest * count <= token_budget and (longest <= SHORT or shortest >= longest * LEAST_FILL)


def plan_batches(lengths: Sequence[int], token_budget: int, max_texts: int) -> list[list[int]]:
    """Indexes of texts of these token lengths, in the batches a `Batcher` would run if they all came at once."""
    pool: Pool[int] = Pool()
    for index, length in enumerate(lengths):
        pool.add(length, index)
    batches = []
    while len(pool):
        batches.append(pool.take(token_budget, max_texts))
    return batches


class TextModel(Protocol[T]):
    """What a batcher needs of a model; both are called from several threads at once."""

    def encode(self, texts: Sequence[Text], kind: str | None = None) -> Sequence[Encoded]:
        """Token ids of each text; a lone text may come in several windows, which count as texts from then on."""

    def run(self, texts: Sequence[Any], *, lone: bool = False) -> list[T]:
        """One result per encoded text, in order."""


@dataclass(eq=False)
class Job(Generic[T]):
    """One predict call. `done` is called once, from a worker's thread, with `rows` complete or `fault` set.

    `deadline` is in seconds of the monotonic clock.
    """

    texts: Sequence[Text]
    done: Callable[[Job[T]], None]
    kind: str | None = None
    deadline: float | None = None
    fault: EngineFault | None = None
    rows: list[T | None] = field(default_factory=list)
    missing: int = 0
    over: bool = False


@dataclass(frozen=True, eq=False)
class _Item(Generic[T]):
    job: Job[T]
    index: int
    encoded: Encoded


class Batcher(Generic[T]):
    """Joins the calls on one model: what waits when a thread becomes free runs together; nothing waits for company."""

    def __init__(self, model: TextModel[T], crew: Crew, *, model_id: str = "", limits: Limits | None = None) -> None:
        self._model, self._crew, self._limits = model, crew, limits or Limits()
        self._lock = crew.lock
        self._settled = threading.Condition(crew.mutex)
        self._raw: deque[tuple[Job[T], int, int]] = deque()
        self._pool: Pool[_Item[T]] = Pool()
        self._tokenizing = self._running = self.waiting = 0
        self._closed = False
        self.texts_done = self.batches_done = self.failures = 0
        self._queued = metrics.QUEUED.labels(model_id)
        self._sizes = metrics.BATCH_TEXTS.labels(model_id)
        self._tokenize_time = metrics.TOKENIZE_SECONDS.labels(model_id)
        self._infer_time = metrics.INFER_SECONDS.labels(model_id)
        crew.add(self)

    def submit(self, job: Job[T]) -> None:
        """Queue a call. Raises EngineFault(QUEUE_FULL or NOT_LOADED); `done` is not called then."""
        count = len(job.texts)
        job.rows, job.missing = [None] * count, count
        with self._lock:
            if self._closed:
                raise EngineFault(FaultCode.NOT_LOADED, "the model is being undeployed")
            if self.waiting and self.waiting + count > self._limits.max_waiting:
                raise EngineFault(FaultCode.QUEUE_FULL, f"{self.waiting} texts are waiting for this model")
            self._raw.extend(
                (job, start, min(start + TOKENIZE_SLICE, count)) for start in range(0, count, TOKENIZE_SLICE)
            )
            self._count(count)
            self._lock.notify(1 if count == 1 else self._crew.size)
        if not count:
            job.over = True
            job.done(job)

    def cancel(self, job: Job[T], fault: EngineFault | None = None) -> None:
        """Drop what of the job has not started; `done` is called with the fault (CANCELLED if none is given)."""
        with self._lock:
            if job.over:
                return
            self._drop(job, fault or EngineFault(FaultCode.CANCELLED, "the caller has gone"))
        job.done(job)

    def close(self) -> None:
        """Refuse new calls, fail the waiting ones with NOT_LOADED, wait for the running batches."""
        with self._lock:
            self._closed = True
            jobs = {id(job): job for job, _, _ in self._raw} | {id(item.job): item.job for item in self._pool}
            for job in jobs.values():
                self._drop(job, EngineFault(FaultCode.NOT_LOADED, "the model was undeployed"))
            self._settled.wait_for(lambda: not self._running and not self._tokenizing)
            self._crew.remove(self)
        for job in jobs.values():
            job.done(job)

    def finish(self) -> None:
        """Wait until nothing waits or runs."""
        with self._lock:
            self._settled.wait_for(lambda: not self.waiting and not self._running and not self._tokenizing)

    def next_task(self, free: int, busy: int) -> Task | None:
        """Work for one thread of the crew, which holds the lock; `free` counts it, `busy` the threads at work."""
        if self._raw:
            job, start, stop = self._raw.popleft()
            self._tokenizing += 1
            return lambda: self._tokenize(job, start, stop)
        # A call that is half tokenised would be split by chance instead of by length.
        if self._tokenizing and self._pool.tokens < self._limits.token_budget:
            return None
        if not len(self._pool):
            return None
        lone = busy == 0 and len(self._pool) == 1
        share = -(-self._pool.tokens // free) if self._limits.split else self._pool.tokens
        items = self._pool.take(min(self._limits.token_budget, share), self._limits.max_texts)
        self._count(-len(items))
        self._running += 1
        return lambda: self._run(items, lone)

    def _tokenize(self, job: Job[T], start: int, stop: int) -> None:
        before = time.perf_counter()
        encoded: Sequence[Encoded] = []
        fault = _late(job)
        if fault is None and not job.over:
            try:
                encoded = self._model.encode(job.texts[start:stop], job.kind)
            except Exception as error:  # whatever the model's tokenizer raises belongs to this call alone
                fault = EngineFault(FaultCode.RUN_FAILED, f"tokenizing failed: {error}")
        self._tokenize_time.observe(time.perf_counter() - before)
        with self._lock:
            self._tokenizing -= 1
            if fault is None and self._closed:
                fault = EngineFault(FaultCode.NOT_LOADED, "the model was undeployed")
            fresh_fault = fault is not None and not job.over
            if fault is not None and fresh_fault:
                self._drop(job, fault)
            if job.over:
                self._count(start - stop)
            else:
                self._widen(job, len(encoded) - (stop - start))
                for index, text in enumerate(encoded, start):
                    self._pool.add(len(text), _Item(job, index, text))
            # A text that is alone stays with this thread: another one would find it busy and not treat it as lone.
            if len(self._pool) > 1 and not self._raw:
                self._lock.notify_all()
            self._settled.notify_all()
        if fresh_fault:
            job.done(job)

    def _widen(self, job: Job[T], more: int) -> None:
        """Make room for the windows that a job's only text came in. The lock is held."""
        job.rows += [None] * more
        job.missing += more
        self._count(more)

    def _run(self, items: Sequence[_Item[T]], lone: bool) -> None:
        late = {id(item.job): item.job for item in items if not item.job.over and _late(item.job)}
        for job in late.values():
            self.cancel(job, _late(job))
        live = [item for item in items if not item.job.over]
        before = time.perf_counter()
        results = self._results(live, lone) if live else []
        if live:
            self._sizes.observe(len(live))
            self._infer_time.observe(time.perf_counter() - before)
        with self._lock:
            self._running -= 1
            self.batches_done += bool(live)
            self.texts_done += len(live)
            ended = self._settle(live, results)
            self._settled.notify_all()
        for job in ended:
            job.done(job)

    def _results(self, items: Sequence[_Item[T]], lone: bool) -> list[T | EngineFault]:
        try:
            return list(self._model.run([item.encoded for item in items], lone=lone))
        except EngineFault as fault:
            # One text that the model cannot run must not take the other callers' texts with it.
            return [fault] if len(items) == 1 else [self._results([item], False)[0] for item in items]
        except Exception as error:  # a defect of ours must end the call, not the thread
            return [EngineFault(FaultCode.RUN_FAILED, f"{type(error).__name__}: {error}")] * len(items)

    def _settle(self, items: Sequence[_Item[T]], results: Sequence[T | EngineFault]) -> list[Job[T]]:
        """Put results into their jobs; the jobs that are complete or failed by it. The lock is held."""
        ended = []
        for item, result in zip(items, results, strict=True):
            job = item.job
            if job.over:
                continue
            if isinstance(result, EngineFault):
                self.failures += 1
                self._drop(job, result)
                ended.append(job)
                continue
            job.rows[item.index] = result
            job.missing -= 1
            if not job.missing:
                job.over = True
                ended.append(job)
        return ended

    def _drop(self, job: Job[T], fault: EngineFault) -> None:
        """End a job with a fault and forget what of it waits. The lock is held; the caller calls `done`."""
        job.over, job.fault = True, fault
        gone = sum(stop - start for other, start, stop in self._raw if other is job)
        if gone:
            self._raw = deque(entry for entry in self._raw if entry[0] is not job)
        self._count(-gone - self._pool.discard(lambda item: item.job is job))

    def _count(self, change: int) -> None:
        """`waiting` counts the texts that are to be tokenised, are being tokenised, or wait for a run."""
        self.waiting += change
        self._queued.inc(change)


def _late(job: Job[T]) -> EngineFault | None:
    if job.deadline is None or time.monotonic() < job.deadline:
        return None
    return EngineFault(FaultCode.DEADLINE, "the call waited longer than it may")
