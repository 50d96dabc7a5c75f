"""What may be loaded, from readings that are made up."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.domain.names import ModelFormat
from bridge.engines.admission import FACTOR, LIBRARIES, MARGIN, OFF, Admission, Need, allowance, estimate, shortage
from bridge.engines.devices import CPU, Device
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.memory import CGROUP, Memory

MIB, GIB = 1 << 20, 1 << 30
ONNX = ModelFormat.ONNX


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of 100 MiB, which takes no room on the disk."""
    with (tmp_path / "model.onnx").open("wb") as file:
        file.truncate(100 * MIB)
    return tmp_path


class Machine:
    """Readings that a test sets."""

    def __init__(self, *bounds: Memory, gpu: Memory | None = None) -> None:
        self.bounds, self.card, self.resident = list(bounds), gpu, GIB
        self.admission = Admission(
            read=lambda: self.bounds, read_gpu=lambda index: self.card, rss=lambda: self.resident
        )

    def check(self, folder: Path, *, threshold: int = 90, device: Device = CPU, **loaded: int) -> Need:
        return self.admission.check("m", folder, ONNX, device, threshold=threshold, loaded=loaded)

    def loaded(self, folder: Path, grown: int, need: Need, device: Device = CPU) -> int:
        before = self.admission.before()
        self.resident += grown
        return self.admission.after(folder, device, need, before)


def test_what_the_threshold_leaves_is_what_a_model_may_take(folder):
    # Of 10 GiB at 90 %, 1 GiB stays free: 150 + 64 MiB fit from 1238 MiB on.
    assert Machine(Memory(10 * GIB, 1238 * MIB)).check(folder).size == 150 * MIB
    with pytest.raises(EngineFault) as caught:
        Machine(Memory(10 * GIB, 1237 * MIB)).check(folder, a=300 * MIB, b=5 * MIB, c=900 * MIB, d=7 * MIB)
    assert caught.value.code is FaultCode.LOAD_FAILED
    assert caught.value.reason == (
        "not enough memory for model m: it needs 214 MiB (estimated), 1237 MiB of 10240 MiB are available on"
        " the machine, and native_memory_threshold 90 % leaves 213 MiB of them;"
        " largest loaded models: c (900 MiB), a (300 MiB), d (7 MiB)"
    )


def test_a_threshold_of_a_hundred_refuses_nothing(folder):
    Machine(Memory(GIB, 0)).check(folder, threshold=OFF)
    with pytest.raises(EngineFault, match="largest loaded models: none"):
        Machine(Memory(GIB, 0)).check(folder, threshold=99)
    with pytest.raises(EngineFault):
        Machine(Memory(GIB, GIB)).check(folder, threshold=0)


def test_every_bound_counts(folder):
    roomy = Memory(100 * GIB, 90 * GIB)
    with pytest.raises(EngineFault, match="container's cgroup"):
        Machine(roomy, Memory(GIB, 250 * MIB, CGROUP)).check(folder)
    tight = Memory(GIB, 250 * MIB, "cuda:0")
    Machine(roomy, gpu=tight).check(folder)
    with pytest.raises(EngineFault, match=r"available on cuda:0"):
        Machine(roomy, gpu=tight).check(folder, device=Device("cuda", 0))
    Machine(roomy, gpu=None).check(folder, device=Device("cuda", 0))


def test_a_model_that_was_loaded_before_needs_what_it_took(folder):
    machine = Machine(Memory(10 * GIB, 5 * GIB))
    assert machine.loaded(folder, 400 * MIB, machine.check(folder)) == 400 * MIB
    assert machine.check(folder) == Need(400 * MIB, 0, measured=True)
    machine.bounds = [Memory(10 * GIB, 1400 * MIB)]
    with pytest.raises(EngineFault, match="as measured before"):
        machine.check(folder)


def test_growth_below_the_size_of_the_files_is_not_believed(folder):
    machine = Machine(Memory(10 * GIB, 5 * GIB))
    assert machine.loaded(folder, MIB, machine.check(folder)) == 100 * MIB
    assert machine.loaded(folder, -MIB, Need(150 * MIB)) == 150 * MIB


def test_what_libraries_and_gpus_take_is_not_the_models(folder):
    machine = Machine(Memory(10 * GIB, 5 * GIB))
    assert machine.loaded(folder, 600 * MIB, Need(150 * MIB, LIBRARIES[ModelFormat.TORCH_SCRIPT])) == 150 * MIB
    assert machine.loaded(folder, 600 * MIB, Need(150 * MIB), Device("cuda", 0)) == 150 * MIB
    assert not machine.check(folder).measured


def test_the_estimate_is_the_references():
    assert estimate(5359) == 8038 and FACTOR == 1.5


@given(st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 1 << 40), st.integers(0, 99))
def test_a_load_is_admitted_exactly_when_the_threshold_holds_afterwards(size, total, free, threshold):
    have = Memory(max(total, free), min(total, free))
    refused = shortage("m", Need(size), have, threshold, {}) is not None
    used_after = have.total - have.available + size + MARGIN
    assert refused == (used_after * 100 > have.total * threshold + _rounding(have.total, threshold))
    assert allowance(have, 100) == have.available


def _rounding(total: int, threshold: int) -> int:
    """What whole bytes lose: the reserve is rounded down."""
    return total * (100 - threshold) % 100
