"""Batches: every text exactly once, little waste, no text left behind; calls joined, cancelled, refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.engines.batching import LEAST_FILL, SHORT, Batcher, Job, Limits, Pool, plan_batches
from bridge.engines.crew import Crew
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.session import Encoded

LENGTHS = st.lists(st.integers(0, 512), max_size=200)
BUDGETS = st.integers(1, 4096)


@given(LENGTHS, BUDGETS, st.integers(1, 64))
def test_every_text_is_in_exactly_one_batch(lengths, budget, most):
    batches = plan_batches(lengths, budget, most)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    assert all(len(batch) <= most for batch in batches)


@given(LENGTHS, BUDGETS, st.integers(1, 64))
def test_padding_is_bounded_and_the_budget_is_kept(lengths, budget, most):
    for batch in plan_batches(lengths, budget, most):
        longest, shortest = max(lengths[i] for i in batch), min(lengths[i] for i in batch)
        if len(batch) > 1:
            assert longest * len(batch) <= budget
            assert longest <= SHORT or shortest >= longest * LEAST_FILL


@given(LENGTHS, BUDGETS)
def test_the_oldest_text_is_always_in_the_next_batch(lengths, budget):
    pool: Pool[int] = Pool()
    for index, length in enumerate(lengths):
        pool.add(length, index)
    waiting = set(range(len(lengths)))
    while waiting:
        taken = pool.take(budget, 8)
        assert min(waiting) in taken
        waiting -= set(taken)
    assert not len(pool) and pool.tokens == 0


@given(LENGTHS, st.integers(1, 5))
def test_discarding_keeps_the_rest_in_order(lengths, divisor):
    pool: Pool[int] = Pool()
    for index, length in enumerate(lengths):
        pool.add(length, index)
    pool.take(64, 4)
    left = set(pool)
    gone = pool.discard(lambda index: index % divisor == 0)
    assert set(pool) == {index for index in left if index % divisor} and gone == len(left) - len(pool)
    assert pool.tokens == sum(lengths[index] for index in pool)
    while len(pool):
        oldest = min(pool)
        assert oldest in pool.take(64, 4)


def test_equal_texts_fill_batches_up_to_the_budget():
    assert [len(batch) for batch in plan_batches([50] * 32, 400, 64)] == [8, 8, 8, 8]


class Echo:
    """A model whose result for a text is the text; `gate` holds runs back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.started = threading.Semaphore(0)
        self.batches: list[tuple[int, bool]] = []

    def encode(self, texts: Sequence[str], kind: str | None = None) -> list[Encoded]:
        return [Encoded([ord(c) for c in text], [0] * len(text)) for text in texts]

    def run(self, texts: Sequence[Encoded], *, lone: bool = False) -> list[str]:
        self.started.release()
        assert self.gate.wait(20)
        self.batches.append((len(texts), lone))
        found = ["".join(chr(i) for i in text.ids) for text in texts]
        if any("poison" in text for text in found):
            raise EngineFault(FaultCode.RUN_FAILED, "poison")
        if any("defect" in text for text in found):
            raise RuntimeError("defect")
        return found


class Call:
    """A job and the means to wait for it."""

    def __init__(self, texts: Sequence[str], **options) -> None:
        self.ended = threading.Event()
        self.times = 0
        self.job: Job[str] = Job(texts=texts, done=self._done, **options)

    def _done(self, job: Job[str]) -> None:
        self.times += 1
        self.ended.set()

    def rows(self) -> list[str]:
        assert self.ended.wait(20)
        if self.job.fault is not None:
            raise self.job.fault
        return self.job.rows  # type: ignore[return-value]


@pytest.fixture
def model():
    return Echo()


@pytest.fixture
def batcher(model):
    crew = Crew(2, name="test")
    batcher = Batcher(model, crew, limits=Limits(token_budget=64, max_texts=16, max_waiting=40))
    yield batcher
    model.gate.set()
    batcher.close()
    crew.stop()


def occupy(batcher: Batcher[str], model: Echo, threads: int = 2) -> list[Call]:
    """Calls that keep every thread busy until the gate opens."""
    model.gate.clear()
    calls = [Call([f"busy{n}"]) for n in range(threads)]
    for call in calls:
        batcher.submit(call.job)
        assert model.started.acquire(timeout=20)
    return calls


@pytest.mark.parametrize("seed", range(5))
def test_callers_get_their_own_rows_back_from_many_threads(batcher, seed):
    calls = [[f"{seed}-{n}-{i}" + "x" * (i * n % 23) for i in range(n % 9)] for n in range(120)]
    wrong = []

    def caller(texts: list[str]) -> None:
        call = Call(texts)
        while True:
            try:
                batcher.submit(call.job)
                break
            except EngineFault as fault:
                assert fault.code is FaultCode.QUEUE_FULL
                time.sleep(0.001)
        if call.rows() != texts or call.times != 1:
            wrong.append(texts)

    threads = [threading.Thread(target=caller, args=(texts,)) for texts in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong and batcher.waiting == 0


def test_calls_that_wait_together_run_together(batcher, model):
    busy = occupy(batcher, model)
    calls = [Call([f"text{n}"]) for n in range(8)]
    for call in calls:
        batcher.submit(call.job)
    model.gate.set()
    assert [call.rows() for call in calls] == [[f"text{n}"] for n in range(8)]
    assert [call.rows() for call in busy] == [["busy0"], ["busy1"]]
    assert len(model.batches) <= 6


def test_a_text_that_comes_alone_may_use_every_core_and_others_may_not(batcher, model):
    call = Call(["alone"])
    batcher.submit(call.job)
    assert call.rows() == ["alone"] and model.batches == [(1, True)]
    many = Call([f"{n}" * 6 for n in range(30)])
    batcher.submit(many.job)
    many.rows()
    assert not any(lone for size, lone in model.batches[1:] if size > 1)


def test_a_full_queue_refuses_and_accepts_again_later(batcher, model):
    busy = occupy(batcher, model)
    waiting = Call(["w"] * 40)
    batcher.submit(waiting.job)
    refused = Call(["one too many"])
    with pytest.raises(EngineFault) as caught:
        batcher.submit(refused.job)
    assert caught.value.code is FaultCode.QUEUE_FULL and refused.times == 0
    model.gate.set()
    assert waiting.rows() == ["w"] * 40
    batcher.submit(refused.job)
    assert refused.rows() == ["one too many"]
    assert all(call.rows() for call in busy)


def test_one_call_of_any_size_is_let_in_when_nothing_waits(batcher):
    call = Call([str(n) for n in range(500)])
    batcher.submit(call.job)
    assert call.rows() == [str(n) for n in range(500)]


def test_a_cancelled_call_is_not_run(batcher, model):
    busy = occupy(batcher, model)
    gone, stays = Call(["gone"] * 20), Call(["stays"])
    batcher.submit(gone.job)
    batcher.submit(stays.job)
    batcher.cancel(gone.job)
    batcher.cancel(gone.job)
    with pytest.raises(EngineFault) as caught:
        gone.rows()
    assert caught.value.code is FaultCode.CANCELLED and gone.times == 1
    assert batcher.waiting == 1
    model.gate.set()
    assert stays.rows() == ["stays"] and all(call.rows() for call in busy)
    assert sum(size for size, _ in model.batches) == 3


def test_a_call_past_its_deadline_is_not_run(batcher, model):
    busy = occupy(batcher, model)
    late = Call(["late"], deadline=time.monotonic() - 1)
    batcher.submit(late.job)
    model.gate.set()
    with pytest.raises(EngineFault) as caught:
        late.rows()
    assert caught.value.code is FaultCode.DEADLINE and all(call.rows() for call in busy)
    assert sum(size for size, _ in model.batches) == 2


def test_a_text_the_model_cannot_run_fails_its_own_call_alone(batcher, model):
    busy = occupy(batcher, model)
    good = [Call([f"good-{n}"]) for n in range(6)]
    bad = Call(["poison"])
    for call in [*good[:3], bad, *good[3:]]:
        batcher.submit(call.job)
    model.gate.set()
    assert [call.rows() for call in good] == [[f"good-{n}"] for n in range(6)]
    with pytest.raises(EngineFault, match="poison"):
        bad.rows()
    assert all(call.rows() for call in busy)


def test_an_unforeseen_error_ends_the_call_and_not_the_thread(batcher):
    for _ in range(4):
        bad = Call(["defect"])
        batcher.submit(bad.job)
        with pytest.raises(EngineFault, match="RuntimeError"):
            bad.rows()
    call = Call(["fine"])
    batcher.submit(call.job)
    assert call.rows() == ["fine"]


def test_closing_fails_what_waits_and_finishes_what_runs(batcher, model):
    busy = occupy(batcher, model)
    waiting = Call(["waits"] * 30)
    batcher.submit(waiting.job)
    closer = threading.Thread(target=batcher.close)
    closer.start()
    opened = time.monotonic() + 20
    while not waiting.job.over and time.monotonic() < opened:
        time.sleep(0.001)
    model.gate.set()
    closer.join(20)
    with pytest.raises(EngineFault) as caught:
        waiting.rows()
    assert caught.value.code is FaultCode.NOT_LOADED and all(call.rows() for call in busy)
    with pytest.raises(EngineFault, match="undeployed"):
        batcher.submit(Call(["x"]).job)
    batcher._crew.add(batcher)  # close() in the fixture removes it again


def test_no_texts_is_done_at_once(batcher):
    call = Call([])
    batcher.submit(call.job)
    assert call.rows() == [] and call.times == 1


def test_big_calls_are_split_over_the_threads(model):
    crew = Crew(2, name="split")
    batcher = Batcher(model, crew, limits=Limits(token_budget=10_000, max_texts=1000))
    busy = occupy(batcher, model)
    call = Call(["same"] * 32)
    batcher.submit(call.job)
    model.gate.set()
    assert call.rows() == ["same"] * 32 and all(c.rows() for c in busy)
    batcher.close()
    crew.stop()
    assert max(size for size, _ in model.batches) <= 32
