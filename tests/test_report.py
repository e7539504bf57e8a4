"""The report needs nothing but itself, says what the design is, and is the same each time; the manifest is complete."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from source_tree import ROOT

import heddle
from heddle.gen.api import CompiledDesign
from heddle.gen.resources import MemoryUse

BUILD = {
    "resources": {
        cell: {"used": 10, "available": 100, "percent": 10.0}
        for cell in ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    },
    "fmax_mhz": {"median": 98.5, "seeds": [97.0, 98.5, 99.0]},
    "critical_path": "from <a> to b",
}


@pytest.fixture(scope="module")
def design() -> CompiledDesign:
    return heddle.compile(heddle.load(ROOT / "examples/digits/digits.tflite"), board="ecp5-25f")


@pytest.fixture(scope="module")
def page(design: CompiledDesign) -> str:
    return design.report().to_html()


class Elements(HTMLParser):
    """The tags of a page, with a check that those which need it are closed."""

    VOID = ("meta", "br", "img", "link")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_other_file(page: str) -> None:
    elements = Elements(page)
    assert elements.open == []
    assert elements.tags.count("svg") == 3
    assert not {"script", "img", "link", "iframe"} & set(elements.tags)
    # Names of XML namespaces look like addresses and are none.
    assert not re.search(r"(?:src|href)=\"https?:|url\(http|@import", page)


def test_the_page_names_every_layer_and_its_cycles(page: str, design: CompiledDesign) -> None:
    for layer in design.layers:
        assert layer.name in page
        assert f"{layer.cycles:,}" in page
    assert f"{design.cycles:,}" in page


def test_the_same_design_gives_the_same_page(design: CompiledDesign, page: str) -> None:
    assert design.report().to_html() == page


def test_no_line_of_the_page_names_a_date_or_a_folder(page: str) -> None:
    assert not re.search(r"20\d\d-\d\d-\d\d|/home/|/tmp/|dc:date", page)


def test_a_built_design_shows_what_was_measured_and_escapes_what_tools_said(design: CompiledDesign) -> None:
    page = design.report().to_html(BUILD)
    assert "98.5 MHz" in page
    assert "97.0, 98.5, 99.0" in page
    assert "from &lt;a&gt; to b" in page
    assert "10 of 100" in page


def test_hostile_names_do_not_become_markup(design: CompiledDesign) -> None:
    plan = design.design.plan
    hostile = tuple(replace(op, layer=f"<script>alert({i})</script>") for i, op in enumerate(plan.operations))
    report = replace(design, design=replace(design.design, plan=replace(plan, operations=hostile))).report()
    assert {layer.name for layer in report.design.layers} == {op.layer for op in hostile}
    assert "<script>" not in report.to_html()


def test_the_text_report_has_a_line_per_layer(design: CompiledDesign) -> None:
    lines = str(design.report()).splitlines()
    assert len([line for line in lines if line.startswith(tuple(layer.name for layer in design.layers))]) == len(
        design.layers
    )


def test_the_manifest_says_what_a_host_needs(design: CompiledDesign, tmp_path: Path) -> None:
    file = tmp_path / "x.v"
    file.write_text("module x; endmodule\n")
    manifest = json.loads(design.report().to_manifest({"verilog": file}))
    assert manifest["network"]["sha256"] == design.network.sha256
    assert manifest["top"] == design.name
    assert manifest["inputs"][0]["shape"] == [1, 8, 8, 1]
    assert manifest["streams"]["input_packets"][0]["bytes"] == 64
    assert manifest["streams"]["output_packets"][0]["layout"] == [1, 1, 10]
    assert manifest["outputs"][0]["scale"] == 1 / 256
    assert manifest["cycles"] == design.cycles
    assert manifest["files"]["verilog"]["name"] == "x.v"
    assert len(manifest["files"]["verilog"]["sha256"]) == 64
    assert str(tmp_path) not in json.dumps(manifest)


@pytest.mark.parametrize(
    ("width", "depth", "byte_writes", "block_rams"),
    [
        (64, 512, False, 2),
        (64, 513, False, 4),
        (64, 512, True, 2),
        (64, 1024, True, 4),
        (36, 512, False, 1),
        (37, 512, False, 2),
        (8, 2048, True, 1),
        (9, 4096, False, 2),
        (1, 16384, False, 1),
        (28, 256, False, 1),
        # Counted: one more of a shape with fewer rows is cheaper than what chooses between 15 rows.
        (26, 6507, False, 10),
        (26, 7264, False, 12),
    ],
)
def test_a_memory_is_a_grid_of_the_shape_that_costs_least(
    width: int, depth: int, byte_writes: bool, block_rams: int
) -> None:
    memory = MemoryUse(name="m", width=width, depth=depth, stored=(width,), byte_writes=byte_writes)
    assert memory.block_rams == block_rams
