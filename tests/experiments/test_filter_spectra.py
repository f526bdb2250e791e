"""Frequencies of filters drawn with a known frequency; blobs and edges drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from deepvis_caffe.errors import ModelError
from deepvis_caffe.experiments.first_layer import (
    EDGES,
    FilterSpectrum,
    compared_kinds,
    filter_spectra,
    first_and_last,
    spectrum_of,
)


def _gabor(frequency: float, degrees: float, size: int = 11, width: float = 3.0) -> np.ndarray:
    """A plane wave under a gaussian window, odd about its middle: no answer to a flat patch."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle = np.radians(degrees)
    wave = np.sin(2 * np.pi * frequency * (x * np.cos(angle) + y * np.sin(angle)))
    return wave * np.exp(-(x**2 + y**2) / (2 * width**2))


@pytest.mark.parametrize("frequency", [0.15, 0.25, 0.4])
@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
def test_a_waves_frequency_and_direction_are_found(frequency: float, degrees: float) -> None:
    colours = np.array([1.0, -0.5, 0.2])  # an edge between two colours is an edge
    found = spectrum_of(colours[:, None, None] * _gabor(frequency, degrees))
    # 0.7 is what all channels share: 3 (0.7 / 3)^2 of 1.29
    assert (found.kind, found.gray) == ("colour edge", pytest.approx(0.49 / 3 / 1.29))
    assert found.frequency == pytest.approx(frequency, abs=0.02)
    assert abs((found.angle - degrees + 90) % 180 - 90) < 4
    assert found.flat < 0.01


def test_a_patch_of_a_colour_is_a_blob() -> None:
    y, x = np.mgrid[:11, :11] - 5
    spot = np.exp(-(x**2 + y**2) / 18)
    # red against green: nothing in brightness, all of it at frequency 0 in colour
    found = spectrum_of(np.stack([spot, -spot, 0 * spot]))
    assert (found.kind, found.frequency, found.flat) == ("blob", 0, 1)
    assert spectrum_of(np.ones((1, 3, 3))).kind == "blob"


def test_the_spectrum_of_a_small_filter_by_hand() -> None:
    # 1, -1 side by side: |1 - e^{-iw}|^2 = 2 - 2 cos w, highest at half a cycle a pixel
    edge = spectrum_of(np.array([[[1.0, -1.0]]]))
    assert (edge.kind, edge.frequency, edge.angle, edge.flat) == ("edge", 0.5, 0, 0)
    assert edge.gray == 1
    # a, b: |a + b e^{-iw}|^2 is (a + b)^2 at 0 and (a - b)^2 at half a cycle
    leaning = spectrum_of(np.array([[[1.0, -0.2]]]))
    assert leaning.flat == pytest.approx(0.8**2 / 1.2**2)
    assert leaning.kind == "edge"
    assert spectrum_of(np.array([[[1.0, -0.1]]])).kind == "blob"  # 0.81 / 1.21 is over a half


def test_a_filter_that_learned_nothing_is_neither() -> None:
    kinds = [
        one.kind
        for one in filter_spectra(
            np.stack([_gabor(0.2, 0), 1e-6 * _gabor(0.2, 0), np.zeros((11, 11))])[:, None]
        )
    ]
    assert kinds == ["edge", "empty", "empty"]


def _edge(unit: int, frequency: float, kind: str = "edge") -> FilterSpectrum:
    return FilterSpectrum(unit, kind, frequency, 0.0, 0.0, 1.0)  # type: ignore[arg-type]


def test_both_ends_are_edges_and_never_share_one() -> None:
    spectra = [_edge(0, 0.3), _edge(1, 0.0, "blob"), _edge(2, 0.1), _edge(3, 0.2), _edge(4, 0.4)]
    low, high = first_and_last(spectra, 2)
    assert [one.unit for one in low] == [2, 3]
    assert [one.unit for one in high] == [0, 4]
    low, high = first_and_last(spectra[:4], 5)  # three edges: one at either end
    assert [one.unit for one in (*low, *high)] == [2, 0]
    low, high = first_and_last([*spectra, _edge(5, 0.01, "colour edge")], 2, EDGES)
    assert [one.unit for one in (*low, *high)] == [5, 2, 0, 4]


def test_what_has_no_frequency() -> None:
    with pytest.raises(ModelError, match="need height and width"):
        filter_spectra(np.ones((4, 3, 1, 1), np.float32))
    with pytest.raises(ModelError, match="need height and width"):
        filter_spectra(np.ones((4, 3), np.float32))
    with pytest.raises(ModelError, match="takes two"):
        first_and_last([_edge(0, 0.3)])


def test_colour_edges_are_compared_where_there_are_no_others() -> None:
    coloured = [_edge(0, 0.3, "colour edge"), _edge(1, 0.2, "colour edge")]
    assert compared_kinds(coloured) == [EDGES]
    assert compared_kinds([*coloured, _edge(2, 0.1), _edge(3, 0.2)]) == [("edge",), EDGES]
    with pytest.raises(ModelError, match="1 of the layer's 2 filters are edge filters"):
        compared_kinds([_edge(0, 0.3), _edge(1, 0.2, "blob")])
