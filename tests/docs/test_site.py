"""The pages of the site: links between them and to the repository, equations, unchanged code."""

from __future__ import annotations

import pytest

from tools.site import mathml, on_page_markdown, outside_code, relinked

KNOWN = {"index.md", "viewer.md", "images/viewer.png", "repository/README.md"}
KNOWN |= {"repository/benchmarks/README.md"}


@pytest.mark.parametrize(
    ("source", "written", "expected"),
    [
        ("index.md", "[all](viewer.md#keys)", "[all](viewer.md#keys)"),
        ("index.md", "[all](../README.md#speed)", "[all](repository/README.md#speed)"),
        ("repository/README.md", "[more](docs/viewer.md)", "[more](../viewer.md)"),
        (
            "repository/README.md",
            "![a cat](docs/images/viewer.png)",
            "![a cat](../images/viewer.png)",
        ),
        ("repository/README.md", "[docs/](docs)", "[docs/](../index.md)"),
        ("repository/README.md", "[b](benchmarks/README.md)", "[b](benchmarks/README.md)"),
        ("repository/benchmarks/README.md", "[r](../README.md)", "[r](../README.md)"),
        ("index.md", "in [prototxt/](../prototxt) are", "in prototxt/ are"),  # not in the site
        ("index.md", "[paper](https://a.b/c)", "[paper](https://a.b/c)"),
        ("index.md", "[below](#here)", "[below](#here)"),
    ],
)
def test_links_lead_to_where_the_pages_are(source: str, written: str, expected: str) -> None:
    assert relinked(written, source, KNOWN) == expected


def test_code_stays_as_it_is() -> None:
    text = "a `b` c\n```\nd `\n```\n[`e`](f) ``g ` h``\n"
    assert outside_code(text, str.upper) == "A `b` C\n```\nd `\n```\n[`e`](F) ``g ` h``\n"


def test_equations_become_mathml_and_prices_do_not() -> None:
    pytest.importorskip("latex2mathml")
    assert mathml("it costs $5 or $6") == "it costs $5 or $6"
    found = mathml("a $x^2$, $$y$$")
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in found
    assert 'display="block"' in found
    assert "$" not in found


def test_a_page_is_changed_outside_of_its_code() -> None:
    class Page:
        class file:
            src_uri = "index.md"

    assert on_page_markdown("`[a](../x)` [b](../x)", Page, None, []) == "`[a](../x)` b"
