"""A comparison as people and CI systems read it; names in foreign profiles stay names."""

import xml.etree.ElementTree as ElementTree
from io import StringIO
from itertools import pairwise

import junitparser
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from edgegrow.measure.regression import compare
from edgegrow.report.comparison import comparison_json, comparison_table
from edgegrow.report.junit import comparison_junit
from edgegrow.report.markdown import comparison_markdown
from tests.profiles import COUNTS, changed, figure, profile

BASE = profile()
WORSE = changed(BASE, instructions=1_020_000, instructions__op_00_conv2d=720_000, latency=9.0)
HOSTILE = [
    "a|b|c",
    "`x` <script>alert(1)</script>",
    "@everyone #1 www.evil.example https://evil.example [x](y) ![i](j)",
    "\x1b[31mred\x07",
    "[red]rich[/red] [/x]",
    "]]> &amp; <!--",
    "\ufffe\u202e\u0000\r\n\n### heading",
    "_a_ **b** ~c~ :tada:",
    "x" * 100_000,
]
STRANGE = st.sampled_from(HOSTILE) | st.text(
    st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30
)

# The parts of JUnit XML that Jenkins' junit-10.xsd, GitLab and GitHub's reporting actions share.
ATTRIBUTES = {
    "testsuites": {"name", "tests", "failures", "errors"},
    "testsuite": {"name", "tests", "failures", "errors", "skipped"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
    "system-out": set(),
}


def terminal(comparison, all_rows=False):
    page = StringIO()
    Console(file=page, width=160).print(comparison_table(comparison, all_rows))
    return page.getvalue()


def tables(markdown):
    """Rows of cells, as text, of every table."""
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(markdown)
    found = []
    for token, inside in pairwise(tokens):
        if token.type == "table_open":
            found.append([])
        elif token.type == "tr_open":
            found[-1].append([])
        elif token.type in ("td_open", "th_open"):
            text = "".join(c.content for c in inside.children if c.type in ("text", "text_special"))
            found[-1][-1].append(text)
    return found


def suite(content):
    parsed = junitparser.JUnitXml.fromstring(content)
    (found,) = list(parsed)
    return found


def check_form(content):
    for element in ElementTree.fromstring(content).iter():
        assert set(element.attrib) == ATTRIBUTES[element.tag]
    found = suite(content)
    cases = list(found)
    assert found.tests == len(cases)
    assert found.failures == sum(case.is_failure for case in cases)
    assert found.skipped == sum(case.is_skipped for case in cases)
    assert found.errors == 0
    assert len({(case.classname, case.name) for case in cases}) == len(cases), "GitLab drops namesakes"
    return cases


def test_the_terminal_says_what_got_worse_and_where():
    text = terminal(compare(BASE, WORSE))
    for words in (
        "instructions (emulated)",
        "1,020,000",
        "+2.00 %",
        "0.1 %",
        "worse",
        "informs",
        "+125.00 %",
    ):
        assert words in text
    assert "instructions (emulated) grew in op_00_conv2d (700,000 to 720,000, +2.86 %)" in text
    assert "p99" not in text
    assert "latency, p99 (measured)" in terminal(compare(BASE, WORSE), all_rows=True)


def test_markdown_is_a_comment_with_two_tables():
    text = comparison_markdown(compare(BASE, WORSE))
    assert text.startswith("### edgegrow gate: ❌ 1 of 3 figures got worse")
    gated, informing = tables(text)
    assert gated[0] == ["figure", "baseline", "candidate", "change", "limit", "verdict"]
    assert gated[1] == ["instructions (emulated)", "1,000,000", "1,020,000", "+2.00 %", "0.1 %", "❌ worse"]
    assert [row[0] for row in gated[2:]] == ["flash (measured)", "accuracy (emulated)"]
    assert [row[0] for row in informing[1:]] == ["latency (measured)"]
    assert "op&#95;00&#95;conv2d" in text
    assert "✅ nothing got worse" in comparison_markdown(compare(BASE, BASE))


def test_junit_is_read_by_a_parser_of_its_own():
    content = comparison_junit(compare(BASE, WORSE))
    cases = {case.name: case for case in check_form(content)}
    failed = cases["instructions (emulated)"]
    assert failed.classname == "edgegrow.gate.raspberry-pi-4"
    assert "+2.00 %" in failed.result[0].message
    assert "op_00_conv2d" in failed.result[0].text
    assert cases["latency (measured)"].is_skipped
    assert cases["flash (measured)"].is_passed
    assert not any(case.is_failure for case in check_form(comparison_junit(compare(BASE, BASE))))


def test_json_has_every_row():
    result = comparison_json(compare(BASE, WORSE))
    assert result["accepted"] is False
    assert len(result["figures"]) == len(COUNTS)
    assert result["figures"][0] == {
        "metric": "instructions", "evidence": "emulated", "aggregation": "exact", "unit": "instructions",
        "baseline": 1_000_000, "candidate": 1_020_000, "change": pytest.approx(0.02), "limit": 0.001,
        "verdict": "worse", "why": "",
    }  # fmt: skip


def test_what_is_not_there_or_not_the_same_is_shown():
    gone = profile(*COUNTS[1:5], unavailable=[("instructions", "no emulator")], target="another")
    comparison = compare(BASE, gone)
    for text in (terminal(comparison), comparison_markdown(comparison)):
        for words in ("vanished", "not comparable", "no emulator", "raspberry-pi-4", "another"):
            assert words in text.replace("&#45;", "-")
    first = compare(None, BASE)
    assert "baseline: none yet" in terminal(first)
    assert "nothing got worse" in comparison_markdown(first)
    check_form(comparison_junit(first))


@given(STRANGE, STRANGE, STRANGE, st.floats(allow_nan=False, allow_infinity=False))
def test_hostile_names_stay_names(metric, unit, target, value):
    figures = [
        figure("instructions", 10, "instructions"),
        figure("instructions:" + metric, 10, unit),
        figure("x" + metric, value, unit, aggregation="median", samples=(value,)),
    ]
    base = profile(*figures, target=target)
    other = profile(
        *(m.model_copy(update={"value": 20}) for m in figures[:2]),
        unavailable=[("x" + metric, unit)],
        target=target,
    )
    comparison = compare(base, other)
    assert comparison.failures
    text = comparison_markdown(comparison)
    harmless = {
        "paragraph",
        "heading",
        "bullet_list",
        "list_item",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    blocks = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    assert {t.type.removesuffix("_open").removesuffix("_close") for t in blocks} <= {
        *harmless, "inline", "html_block"
    }  # fmt: skip
    for block in blocks:
        allowed = ("<details>", "</details>")
        assert block.type != "html_block" or block.content.startswith(allowed)
        for child in block.children or []:
            assert child.type in ("text", "html_inline", "text_special")
            assert child.type != "html_inline" or child.content in ("<code>", "</code>")
    assert all(len(row) == 6 for table in tables(text) for row in table)
    assert "@" not in text
    assert len(text) < 50_000
    shown = terminal(comparison, all_rows=True)
    assert all(sign.isprintable() or sign == "\n" for sign in shown)
    check_form(comparison_junit(comparison))
