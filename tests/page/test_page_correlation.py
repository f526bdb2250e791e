"""A layer's correlation in the page's data, read back and compared with numpy."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from helpers.results_folder import add_pictures

from deepvis_caffe.dataset.correlation import Correlation
from deepvis_caffe.page.data import correlation_text
from deepvis_caffe.page.page import write_page
from deepvis_caffe.results.index import read_results


def test_half_of_the_matrix_is_all_of_it() -> None:
    full = np.corrcoef(np.random.default_rng(0).normal(size=(6, 20)))
    full[2] = full[:, 2] = np.nan
    text = correlation_text(Correlation(full.astype(np.float32), (3, 0, 1, 5, 4, 2), 20), 7)
    assert text.startswith('deepvisPart("7.correlation", {')
    assert text.isascii()
    part = json.loads(text.removeprefix('deepvisPart("7.correlation", ').removesuffix(");\n"))
    assert (part["images"], part["order"]) == (20, [3, 0, 1, 5, 4, 2])
    levels = list(base64.b64decode(part["levels"]))
    for row in range(6):
        for column in range(row + 1):
            level = levels.pop(0)
            if 2 in (row, column):
                assert level == part["none"]
            else:
                assert (level - part["zero"]) / part["steps"] == round(full[row, column], 2)
    assert not levels
    assert len(part["colors"]) == 202


def test_only_a_layer_that_has_one_gets_a_file_and_an_old_one_goes(tmp_path: Path) -> None:
    add_pictures(tmp_path, "max_im/a/a_0000.jpg", "max_im/b/b_0000.jpg")
    results = read_results(tmp_path)
    a, b = results.layers
    for values in (np.eye(2), np.ones((2, 2))):
        found = Correlation(values.astype(np.float32), (0, 1), 3)
        page = write_page(replace(results, layers=(a, replace(b, correlation=found))))
        (file,) = (tmp_path / "index_files").iterdir()
        assert file.read_text() == correlation_text(found, 1)
        index = json.loads(page.read_text().split('id="index">')[1].split("</script>")[0])
        assert [one["correlation"] for one in index["layers"]] == [None, f"index_files/{file.name}"]
