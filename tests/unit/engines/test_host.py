"""The models of one process: admission by memory, replacing, figures."""

from __future__ import annotations

import threading

import pytest
import tiny_models

from bridge.engines.admission import Admission
from bridge.engines.faults import EngineFault, FaultCode
from bridge.engines.host import Host
from bridge.engines.memory import Memory
from bridge.engines.session import ModelSpec, Output
from bridge.engines.targets import Targets

GIB = 1 << 30


def test_a_model_that_does_not_fit_is_refused_with_figures(tmp_path):
    folder = tiny_models.write_onnx(tmp_path)
    host = Host(admission=Admission(read=lambda: [Memory(8 * GIB, 60 << 20)]))
    for number in range(20):
        with pytest.raises(EngineFault, match=r"not enough memory for model m\d+: .* 60 MiB of 8192 MiB") as caught:
            host.load(f"m{number}", folder, ModelSpec(), native_memory_threshold=99)
        assert caught.value.code is FaultCode.LOAD_FAILED
    assert host.stats()["models"] == {}
    assert host.load("m", folder, ModelSpec(), native_memory_threshold=100)["memory_bytes"] > 0
    host.close()


def test_calls_are_answered_while_another_model_is_loaded_and_replaced(tmp_path):
    folder = tiny_models.write_onnx(tmp_path)
    host = Host(workers=2)
    host.load("m", folder, ModelSpec())
    ended: list[bool] = []
    stop = threading.Event()

    def caller() -> None:
        while not stop.is_set():
            done = threading.Event()
            try:
                _, job = host.submit("m", tiny_models.docs("the cat"), lambda *_, done=done: done.set())
            except EngineFault as fault:
                assert fault.code is FaultCode.NOT_LOADED
                continue
            assert done.wait(20)
            ended.append(job.fault is None or job.fault.code is FaultCode.NOT_LOADED)

    thread = threading.Thread(target=caller)
    thread.start()
    for number in range(20):
        host.load(f"other{number % 3}", folder, ModelSpec())
        host.load("m", folder, ModelSpec())
    stop.set()
    thread.join(20)
    assert ended and all(ended)
    assert set(host.stats()["models"]) == {"m", "other0", "other1", "other2"}
    host.close()


@pytest.mark.parametrize(
    ("targets", "kept"),
    [
        (Targets(), "abc"),
        (Targets(names=("b",)), "b"),
        (Targets(positions=(0, 2)), "ac"),
        (Targets(names=("b",), positions=(0,)), "ab"),
        (Targets(names=("nowhere",), positions=(7,)), ""),
    ],
)
def test_names_and_positions_give_the_union(targets, kept):
    row = [Output(name, tiny_models.table()) for name in "abc"]
    found = targets.apply(row)
    assert len(found) == 3 and "".join(output.name for output in found if output is not None) == kept


def test_an_unknown_device_fails_the_load(tmp_path):
    host = Host()
    with pytest.raises(EngineFault, match="unknown device"):
        host.load("m", tiny_models.write_onnx(tmp_path), ModelSpec(), device="toaster")
    host.close()
