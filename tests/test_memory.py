"""How much memory this machine has, against what the system reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from deepvis_caffe import memory


def test_it_is_what_the_kernel_says():
    info = Path("/proc/meminfo")
    if not info.exists():
        pytest.skip("no Linux")
    (total,) = (line.split()[1] for line in info.read_text().splitlines() if "MemTotal" in line)
    found = memory.machine_memory()
    assert found is not None
    assert 0 < found <= int(total) * 1024


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "absent"))
    without = memory.machine_memory()
    limit.write_text("max\n")
    assert memory.machine_memory() == without
    limit.write_text("4096\n")
    assert memory.machine_memory() == 4096


def test_bytes_as_text():
    assert memory.in_gib(2**30 * 5 // 2) == "2.5 GiB"
    assert memory.in_gib(2**50) == "1,048,576.0 GiB"
