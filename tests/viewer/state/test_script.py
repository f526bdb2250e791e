"""Keys written down."""

from __future__ import annotations

import pytest

from deepvis_caffe.errors import DeepVisError
from deepvis_caffe.viewer.state.actions import parse_keys


def test_keys_are_pressed_in_order_and_so_often() -> None:
    assert parse_keys(" right*3, down,b ,L*0") == ("right", "right", "right", "down", "b")
    assert parse_keys("") == ()


@pytest.mark.parametrize(
    ("text", "said"), [("rigth", "did you mean 'right'"), ("b*x", r"'b\*x'"), ("b*", r"'b\*'")]
)
def test_what_is_no_key_or_number_is_said(text: str, said: str) -> None:
    with pytest.raises(DeepVisError, match=said):
        parse_keys(text)
