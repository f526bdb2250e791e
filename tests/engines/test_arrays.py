"""Array operations of both kinds of arrays against numpy."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers.array_ops import ON_EACH_KIND
from hypothesis import given, settings
from hypothesis import strategies as st

from deepvis_caffe.engines.arrays import ArrayOps, NumpyOps, TorchOps, ops_for
from deepvis_caffe.errors import UnknownNameError

torch = pytest.importorskip("torch")


def test_each_helper_keeps_to_one_core_and_the_others_to_theirs() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with TorchOps().helpers(2) as pool:
            inside = list(pool.map(lambda _: torch.get_num_threads(), range(8)))
            assert set(inside) == {1}
            assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("size", [(5, 7), (12, 16), (9, 64), (33, 65), (40, 60)])
def test_images_of_spectra_are_numpys(ops: ArrayOps, size: tuple[int, int]) -> None:
    x = np.random.default_rng(0).normal(0, 1, (2, 3, *size)).astype(np.float32)
    spectra = ops.xp.fft.rfft2(ops.asarray(x)) * ops.asarray(np.float32(3))
    found = ops.irfft2(spectra, size)
    assert found.dtype == ops.xp.float32
    np.testing.assert_allclose(ops.numpy(found), 3 * x, rtol=1e-5, atol=1e-5)
    turned = ops.numpy(ops.irfft2(ops.xp.conj(spectra), size))  # torch conjugates lazily
    np.testing.assert_allclose(turned, 3 * np.roll(x[..., ::-1, ::-1], 1, (2, 3)), atol=1e-5)


@pytest.mark.parametrize("width", [3, 8, 12, 15, 16, 20, 32, 48, 64, 65, 80, 96, 128, 227, 240])
def test_images_of_spectra_do_not_depend_on_the_number_of_threads(width: int) -> None:
    ops, before = TorchOps(), torch.get_num_threads()
    spectra = torch.fft.rfft2(
        torch.from_numpy(np.random.default_rng(1).normal(0, 1, (3, 24, width)))
    )
    spectra, found = spectra.to(torch.complex64), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(ops.irfft2(spectra, (24, width)).numpy())
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


def test_a_thread_computes_on_as_many_threads_as_it_is_told() -> None:
    def told() -> tuple[int, int, int]:
        with ops.on_threads(2):
            within = ops.threads, torch.get_num_threads()
        return (*within, ops.threads)

    ops, before = TorchOps(), torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert told() == (2, 2, 3)
        with ThreadPoolExecutor(1) as another:
            assert another.submit(told).result() == (2, 2, 3)
        with pytest.raises(ZeroDivisionError), ops.on_threads(1):
            raise ZeroDivisionError
        assert ops.threads == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_memory_that_files_are_cached_in_counts_as_free() -> None:
    psutil = pytest.importorskip("psutil")
    expected = psutil.virtual_memory().available
    assert NumpyOps().free_memory() == pytest.approx(expected, rel=0.05)


def test_a_host_array_comes_back_as_it_went(ops: ArrayOps) -> None:
    array = np.arange(24, dtype=np.float64).reshape(2, 3, 4)[:, ::-1]
    back = ops.numpy(ops.asarray(array))
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, array)
    assert ops.numpy(ops.asarray([1, 2], np.int64)).dtype == np.int64


def test_sums_are_the_same_whatever_is_beside_them(ops: ArrayOps) -> None:
    """To the last bit on the host, with several threads and an array that torch would share out."""
    rng = np.random.default_rng(0)
    host = rng.normal(0, 1, (5, 3, 150, 150)).astype(np.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        every = ops.for_numbers.numpy(ops.sums(ops.asarray(host)))
        maps = ops.for_numbers.numpy(ops.sums(ops.asarray(host), 2))
        alone = [ops.for_numbers.numpy(ops.sums(ops.asarray(one[None])))[0] for one in host]
        one_map = ops.for_numbers.numpy(ops.sums(ops.asarray(host[:1, 1:2]), 2))
        last = ops.asarray(host.transpose(0, 2, 3, 1)).swapaxes(1, 3).swapaxes(2, 3)
        of_last = ops.for_numbers.numpy(ops.sums(last, 2))  # channels last in memory
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(every, [math.fsum(one.ravel()) for one in host], atol=1e-2)
    np.testing.assert_allclose(maps, host.sum(axis=(2, 3), dtype=np.float64), atol=1e-2)
    np.testing.assert_allclose(of_last, maps, atol=1e-2)
    if ops.on_host:
        assert every.tolist() == alone
        assert maps[0, 1] == one_map[0, 0]
        assert of_last.tolist() == maps.tolist()


def test_asarray_and_numpy_copy(ops: ArrayOps) -> None:
    host = np.zeros(3, np.float32)
    native = ops.asarray(host)
    read = ops.numpy(native)
    native += 1
    assert host.tolist() == read.tolist() == [0, 0, 0]


@given(
    seed=st.integers(0, 1000),
    rows=st.integers(1, 5),
    length=st.integers(1, 300),
    shared=st.booleans(),
)
@settings(max_examples=40, **ON_EACH_KIND)
def test_percentile_is_numpys(
    ops: ArrayOps, seed: int, rows: int, length: int, shared: bool
) -> None:
    rng = np.random.RandomState(seed)
    data = rng.normal(0, 100, (rows, length)).astype(np.float32)
    q = float(rng.uniform(0, 100)) if shared else rng.choice([0, 20, 37.5, 50, 90, 100], rows)
    expected = [
        np.percentile(row.astype(np.float64), one)
        for row, one in zip(data, np.broadcast_to(q, rows), strict=True)
    ]
    got = ops.numpy(ops.percentile(ops.asarray(data), q))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


def test_numbers_are_the_same_memory_and_arrays_can_be_made_of_them(ops: ArrayOps) -> None:
    array = ops.asarray([1.5, -2, 0])
    numbers, xp = ops.numbers(array), ops.for_numbers.xp
    array *= 2
    assert numbers.tolist() == [3, -4, 0]
    highest = xp.maximum(numbers, -numbers)
    assert ops.for_numbers.numpy(highest).tolist() == [3, 4, 0]
    assert ops.numpy(ops.xp.asarray(highest) + array).tolist() == [6, 0, 0]
    # on the host numpy's; else what a device has
    assert isinstance(numbers, np.ndarray) == ops.on_host


@pytest.mark.slow
def test_percentile_of_more_values_than_torch_quantile_takes() -> None:
    ops = TorchOps()
    data = np.random.RandomState(0).uniform(0, 1, (1, 17_000_000)).astype(np.float32)
    with pytest.raises(RuntimeError, match="too large"):
        torch.quantile(torch.from_numpy(data), 0.9, dim=1)
    got = ops.numpy(ops.percentile(ops.asarray(data), 90))
    np.testing.assert_allclose(got, np.percentile(data[0].astype(np.float64), 90), rtol=1e-6)


def test_percentile_at_a_rank_is_that_value(ops: ArrayOps) -> None:
    # 5 values: the 50th percentile is the third, exactly
    rows = ops.asarray([[5, 1, 4, 2, 3], [10, 50, 20, 40, 30]])
    assert ops.numpy(ops.percentile(rows, 50)).tolist() == [3, 30]
    assert ops.numpy(ops.percentile(rows, np.array([0, 100]))).tolist() == [1, 50]


def test_each_engine_has_its_arrays() -> None:
    assert ops_for("pycaffe", "cuda").xp is np
    assert ops_for("torch", "cpu").xp is torch
    with pytest.raises(UnknownNameError, match="did you mean 'torch'"):
        ops_for("troch")
