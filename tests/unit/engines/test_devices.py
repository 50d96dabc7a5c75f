"""Device choice and its explanation; memory figures."""

from __future__ import annotations

import pytest

from bridge.engines import devices, memory
from bridge.engines.devices import CPU, Device


@pytest.mark.parametrize(
    ("requested", "works", "chosen"),
    [
        (None, False, CPU),
        ("auto", False, CPU),
        (None, True, Device("cuda", 0)),
        ("auto", True, Device("cuda", 0)),
        ("cpu", True, CPU),
        ("cuda:1", True, Device("cuda", 1)),
        ("CUDA", True, Device("cuda", 0)),
        ("cuda:1", False, CPU),
    ],
)
def test_cuda_when_it_works_and_nothing_else_was_asked_for(requested, works, chosen):
    assert devices.choose(requested, cuda_works=works) == chosen


@pytest.mark.parametrize("text", ["gpu", "cuda:x", "", "cpu cuda"])
def test_unknown_devices_are_refused(text):
    with pytest.raises(ValueError, match="unknown device"):
        Device.parse(text)


@pytest.mark.parametrize("device", [CPU, Device("cuda", 3)])
def test_a_device_is_written_as_it_is_read(device):
    assert Device.parse(str(device)) == device


@pytest.mark.parametrize(
    ("providers", "torch_cuda", "gpus", "level", "word"),
    [
        (["CPUExecutionProvider"], None, [0], "warning", "onnxruntime-gpu"),
        (["CPUExecutionProvider"], None, [], "ok", "without the CUDA provider"),
        (["CUDAExecutionProvider"], None, [], "ok", "no driver or no GPU"),
        (["CUDAExecutionProvider"], None, [0], "ok", "ONNX: on CUDA"),
        (None, None, [], "warning", "onnxruntime is not installed"),
        ([], True, [0], "ok", "TorchScript: on CUDA"),
        ([], False, [0], "warning", "torch finds no working CUDA"),
        ([], False, [], "ok", "TorchScript: on the CPU"),
        ([], None, [], "ok", "torch (extra [torch]) is missing"),
        ([], None, [], "ok", "no /dev/nvidia"),
        ([], None, [0, 1], "ok", "2 NVIDIA"),
    ],
)
def test_every_situation_is_explained(providers, torch_cuda, gpus, level, word):
    lines = devices.explain(onnx_providers=providers, torch_cuda=torch_cuda, gpus=gpus)
    assert [line.level for line in lines if word in line.text] == [level]


def test_gpus_are_the_drivers_device_files(tmp_path):
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert devices.gpu_nodes(tmp_path) == [0, 1]


def test_the_cgroups_quota_is_read_in_both_versions(tmp_path):
    assert devices.cgroup_cores(tmp_path) is None
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    assert devices.cgroup_cores(tmp_path) == 1.5
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert devices.cgroup_cores(tmp_path) is None
    (tmp_path / "cpu.max").unlink()
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("200000")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000")
    assert devices.cgroup_cores(tmp_path) == 2


def test_a_small_quota_is_one_core(monkeypatch):
    monkeypatch.setattr(devices, "cgroup_cores", lambda: 0.5)
    assert devices.cores() == 1
    monkeypatch.setattr(devices, "cgroup_cores", lambda: None)
    assert devices.cores() >= 1


def test_the_smaller_of_machine_and_cgroup_counts(tmp_path):
    proc, cgroup = tmp_path / "proc", tmp_path / "cgroup"
    proc.mkdir()
    cgroup.mkdir()
    (proc / "meminfo").write_text("MemTotal: 2000 kB\nMemFree: 100 kB\nMemAvailable: 1500 kB\nHugePages_Total: 0\n")
    assert memory.read(proc, cgroup) == memory.Memory(2000 * 1024, 1500 * 1024)
    (cgroup / "memory.max").write_text("max")
    assert memory.read(proc, cgroup).total == 2000 * 1024
    (cgroup / "memory.max").write_text(str(1000 * 1024))
    (cgroup / "memory.current").write_text(str(900 * 1024))
    assert memory.read(proc, cgroup) == memory.Memory(1000 * 1024, 100 * 1024, memory.CGROUP)
    assert [one.place for one in memory.limits(proc, cgroup)] == [memory.MACHINE, memory.CGROUP]
    (cgroup / "memory.stat").write_text(f"anon 5\ninactive_file {300 * 1024}\nactive_file 9\n")
    assert memory.read(proc, cgroup).available == 400 * 1024
    (cgroup / "memory.max").write_text(str(3000 * 1024))
    assert len(memory.limits(proc, cgroup)) == 1


def test_cgroups_of_version_one_count_too(tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 2000 kB\nMemAvailable: 1500 kB\n")
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory/memory.limit_in_bytes").write_text(str(1000 * 1024))
    (tmp_path / "memory/memory.usage_in_bytes").write_text(str(600 * 1024))
    (tmp_path / "memory/memory.stat").write_text(f"total_inactive_file {100 * 1024}")
    assert memory.read(tmp_path, tmp_path) == memory.Memory(1000 * 1024, 500 * 1024, memory.CGROUP)


def test_a_gpus_memory_is_what_its_driver_says(tmp_path):
    told = tmp_path / "smi"
    told.write_text("#!/bin/sh\necho '81559, 80000'\n")
    told.chmod(0o755)
    assert memory.gpu(1, str(told)) == memory.Memory(81559 << 20, 80000 << 20, "cuda:1")
    told.write_text("#!/bin/sh\nexit 9\n")
    assert memory.gpu(0, str(told)) is None and memory.gpu(0, str(tmp_path / "nowhere")) is None


def test_a_folders_size_is_that_of_all_its_files(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "a").write_bytes(b"x" * 10)
    (tmp_path / "deep/b").write_bytes(b"x" * 5)
    assert memory.folder_size(tmp_path) == 15


def test_this_process_has_resident_memory(tmp_path):
    assert memory.rss() > 1 << 20
    assert memory.rss(tmp_path) == 0
