"""Arrays that scripts hold see the engine's results, and the engine sees what scripts write."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepvis_caffe.caffe.blob import Blob
from deepvis_caffe.caffe.memory import Memory, ParameterMemory, Product, clock

CPU = torch.device("cpu")
IMAGE = (2, 3, 4, 5)


def image(seed: int = 0) -> torch.Tensor:
    values = np.random.default_rng(seed).normal(size=IMAGE).astype(np.float32)
    return torch.from_numpy(values).contiguous(memory_format=torch.channels_last)


def test_a_new_blob_holds_zeros_that_can_be_written() -> None:
    blob = Blob(IMAGE)
    assert not blob.data.any()
    blob.data[1, 2] = 7
    assert blob.data.sum() == 7 * 4 * 5
    assert blob.data.flags.c_contiguous
    assert blob.data.dtype == np.float32
    assert not blob.diff.any()


def test_every_access_is_a_new_array_over_the_same_memory() -> None:
    blob = Blob(IMAGE)
    first, second = blob.data, blob.data
    assert first is not second
    first[0, 1, 2, 3] = 5
    assert second[0, 1, 2, 3] == 5


def test_a_view_that_is_kept_shows_what_the_engine_computes_next() -> None:
    memory = Memory(2 * 3 * 4 * 5, CPU)
    row = memory.view(IMAGE)[1, 2]  # a view of a view: the array between is gone
    for seed in range(3):
        clock.tick()
        memory.set(image(seed))
        np.testing.assert_array_equal(row, image(seed)[1, 2].numpy())


def test_what_is_written_through_a_kept_view_reaches_the_engine_each_time() -> None:
    memory = Memory(2 * 3 * 4 * 5, CPU)
    kept = memory.view(IMAGE)
    for value in (1.0, 2.0):
        kept[...] = value
        clock.tick()
        assert memory.get(IMAGE).unique().tolist() == [value]


def test_what_was_written_through_a_view_that_is_gone_reaches_the_engine() -> None:
    memory = Memory(2 * 3 * 4 * 5, CPU)
    memory.set(image())
    memory.view(IMAGE)[0] = 3
    clock.tick()
    expected = image().numpy().copy()
    expected[0] = 3
    np.testing.assert_array_equal(memory.get(IMAGE).numpy(), expected)


def test_unread_values_are_not_copied() -> None:
    memory = Memory(2 * 3 * 4 * 5, CPU)
    memory.set(image())
    clock.tick()
    assert memory.get(IMAGE) is memory.get(IMAGE)
    tensor = memory.get(IMAGE)
    clock.tick()
    assert memory.get(IMAGE) is tensor


def test_tensors_that_were_taken_out_do_not_change_when_a_script_writes() -> None:
    memory = Memory(4, CPU)
    kept = memory.view((4,))
    kept[...] = 1
    clock.tick()
    before = memory.get((4,))
    kept[...] = 2
    clock.tick()
    assert before.tolist() == [1, 1, 1, 1]
    assert memory.get((4,)).tolist() == [2, 2, 2, 2]


def test_a_smaller_shape_keeps_the_first_values_and_the_rest_for_later() -> None:
    blob = Blob((2, 3))
    blob.data[...] = np.arange(6).reshape(2, 3)
    blob.reshape(1, 3)
    assert blob.data.tolist() == [[0, 1, 2]]
    blob.data_memory.set(torch.tensor([[7.0, 8.0, 9.0]]))
    blob.reshape(3, 2)
    assert blob.data.tolist() == [[7, 8], [9, 3], [4, 5]]
    blob.reshape(7)
    assert blob.data.tolist() == [0] * 7


def test_values_of_any_number_leave_the_others_as_they_are() -> None:
    random = np.random.default_rng(0)
    for _ in range(30):
        memory, expected = Memory(6, CPU), np.zeros(6, np.float32)
        for value in range(1, 9):
            clock.tick()
            size = int(random.integers(1, 7))
            if random.random() < 0.3:
                memory.view((6,))[size - 1] = expected[size - 1] = -value
            else:
                memory.set(torch.full((size,), float(value)))
                expected[:size] = value
            if random.random() < 0.5:
                np.testing.assert_array_equal(memory.get((size,)), expected[:size])
        np.testing.assert_array_equal(memory.view((6,)), expected)


def test_values_of_a_smaller_shape_are_not_copied_either(monkeypatch: pytest.MonkeyPatch) -> None:
    copies: list[torch.Tensor] = []
    monkeypatch.setattr(Memory, "_copy_to", lambda self, host: copies.append(host))
    memory = Memory(6, CPU)
    for value in (1.0, 2.0, 3.0):
        clock.tick()
        memory.set(torch.full((3,), value))
    assert not copies
    assert memory.get((3,)).tolist() == [3, 3, 3]


def test_sums_of_diffs_are_the_same_read_once_or_every_time() -> None:
    once, often, kept = (Memory(3, CPU) for _ in range(3))
    view = kept.view((3,))
    for step in range(1, 5):
        for memory in (once, often, kept):
            memory.add(lambda step=step: torch.full((3,), float(step)), (3,))
        often.view((3,))
    assert once.view((3,)).tolist() == often.view((3,)).tolist() == view.tolist() == [10] * 3


def test_a_parameter_follows_its_arrays_and_only_then_counts_as_changed() -> None:
    parameter = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3), requires_grad=False)
    memory = ParameterMemory(parameter)
    kept, version = memory.view((2, 3)), parameter._version
    assert kept.tolist() == [[0, 1, 2], [3, 4, 5]]
    clock.tick()
    memory.refresh()
    assert parameter._version == version
    kept[0] = 9
    clock.tick()
    memory.refresh()
    assert parameter.tolist() == [[9, 9, 9], [3, 4, 5]]
    assert parameter._version > version


def test_a_parameter_of_filters_keeps_its_values_in_every_layout() -> None:
    values = image()
    parameter = torch.nn.Parameter(values, requires_grad=False)
    memory = ParameterMemory(parameter)
    np.testing.assert_array_equal(memory.view(IMAGE), values.numpy())
    memory.view(IMAGE)[...] *= 2
    clock.tick()
    memory.refresh()
    np.testing.assert_array_equal(parameter.numpy(), memory.view(IMAGE))


@pytest.mark.parametrize("room", [6, 40, 400])
def test_products_that_wait_are_the_sum_of_their_images(room: int) -> None:
    """Of several shapes and owners, more than there is room for, and read in between."""
    rng = np.random.default_rng(0)
    memory, expected = Memory(room, CPU), np.zeros((2, 3))
    owners = [object(), object()]
    for step in range(12):
        images = step % 3 + 1
        x, dy = rng.normal(size=(images, 3)), rng.normal(size=(images, 2))
        expected += dy.T @ x
        tensors = (torch.tensor(one, dtype=torch.float32) for one in (x, dy))
        memory.add(Product(owners[step % 2], lambda x, dy: dy.T @ x, *tensors), (2, 3))
        if step in (4, 5):
            np.testing.assert_allclose(memory.view((2, 3)), expected, rtol=1e-5)
    np.testing.assert_allclose(memory.get((2, 3)).numpy(), expected, rtol=1e-5)
