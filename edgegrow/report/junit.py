"""A comparison as JUnit XML, which CI systems show as tests."""

from __future__ import annotations

from xml.etree import ElementTree

from edgegrow.measure.regression import Comparison, Row
from edgegrow.printable import printable
from edgegrow.report.comparison import (
    change_text,
    figure_text,
    headings,
    limit_text,
    shown_rows,
    value_text,
    where_texts,
)


def comparison_junit(comparison: Comparison) -> bytes:
    """Write a comparison as one suite: a test case for every figure, skipped where it informs only.

    Notes
    -----
    The elements are those that GitLab, Jenkins and GitHub's reporting actions have in common, as in the
    xUnit plugin's ``junit-10.xsd``: ``testsuites``, ``testsuite``, ``testcase``, ``failure``, ``skipped`` and
    ``system-out``. GitLab tells test cases apart by their class's and their own name.
    """
    rows = shown_rows(comparison)
    target = printable(comparison.candidate.target.name)
    counts = {
        "tests": str(len(rows)),
        "failures": str(sum(row.failed for row in rows)),
        "errors": "0",
    }
    suites = ElementTree.Element("testsuites", {"name": "edgegrow gate", **counts})
    skipped = str(sum(_informs(row) for row in rows))
    suite = ElementTree.SubElement(
        suites, "testsuite", {"name": f"edgegrow gate {target}", **counts, "skipped": skipped}
    )
    for row in rows:
        case = ElementTree.SubElement(
            suite, "testcase", {"name": figure_text(row), "classname": f"edgegrow.gate.{target}", "time": "0"}
        )
        said = f"{value_text(row.baseline)} to {value_text(row.candidate)}"
        details = [change_text(row), limit_text(row) and f"limit {limit_text(row)}", printable(row.why)]
        message = f"{row.verdict}: {', '.join(part for part in (said, *details) if part)}"
        if row.failed:
            failure = ElementTree.SubElement(case, "failure", {"type": row.verdict, "message": message})
            failure.text = "\n".join([message, *where_texts(comparison, [row]), *headings(comparison)])
        elif _informs(row):
            ElementTree.SubElement(case, "skipped", {"message": message})
        else:
            ElementTree.SubElement(case, "system-out").text = message
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n"


def _informs(row: Row) -> bool:
    return row.limit is None
