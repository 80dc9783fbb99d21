"""Tables are valid LaTeX, Markdown and TSV, and print what the summary holds."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from report_samples import external_line, line, published_rows

from lib.report.compare import PublishedCells
from lib.report.latex import escape, latex
from lib.report.layout import MOST_RADII, blocks, percent, seconds, signed
from lib.report.markdown import markdown
from lib.report.notes import notes
from lib.report.summary import summarise
from lib.report.tables import write_tables

RADII = [0.0, 0.25, 0.5, 0.75]


@pytest.fixture(scope="module")
def summary():
    """Two noise levels; names that LaTeX and Markdown must escape; a line from elsewhere; published numbers."""
    lines = [
        line("gaussian", mean=0.5, n=100_000),
        line("my_50%&more", certificate="np_2", mean=2.0, seed=7),
        external_line("[theirs]*", mean=1.0, seed=8),
        line("gaussian", sigma=0.5, seeds=2, seed=20),
        line("my_50%&more", sigma=0.5, seeds=2, seed=20),
    ]
    return summarise(lines, RADII, PublishedCells("cifar10", "cifar_resnet110", lookup=published_rows), resamples=200)


def tabulars(tex):
    return re.findall(r"\\begin\{tabular\}\{([lcr]+)\}\n(.*?)\n\\end\{tabular\}", tex, re.S)


def cells_of(row):
    """Number of columns that a row fills, multicolumns counted with their width."""
    body = row.removesuffix(r"\\").strip()
    return sum(
        int(m[1]) if (m := re.match(r"\s*\\multicolumn\{(\d+)\}", cell)) else 1 for cell in re.split(r"(?<!\\)&", body)
    )


def check_structure(tex):
    """What LaTeX would stumble over: braces, environments, columns, maths switched on and not off, reserved characters."""
    plain = re.sub(r"(?m)^%.*$", "", tex)
    depth = 0
    for sign in re.sub(r"\\[{}]", "", plain):
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0, "a brace is closed that was not opened"
    assert depth == 0
    environments = []
    for command, name in re.findall(r"\\(begin|end)\{(\w+)\}", plain):
        if command == "begin":
            environments.append(name)
        else:
            assert environments.pop() == name
    assert not environments
    for text in plain.splitlines():
        assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
        assert not re.search(r"(?<!\\)[%#]", text)
        assert not re.search(r"(?<!\\)[_^]", re.sub(r"\$[^$]*\$|\\label\{.*?\}", "", text))
    found = tabulars(tex)
    assert found
    for spec, body in found:
        for row in body.splitlines():
            if row.endswith(r"\\"):
                assert cells_of(row) == len(spec), row
            else:
                assert re.fullmatch(
                    r"\\(toprule|midrule|bottomrule|cmidrule\(lr\)\{\d+-\d+\}|addlinespace\[2pt\])", row
                ), row
    assert plain.isascii()


def test_latex_is_well_formed(summary):
    check_structure(
        latex(blocks(summary), notes(summary, "A remark with 50 % & _all_ {that} is ~^\\ special."), "T_1", "t_1")
    )


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex on this machine")
def test_latex_compiles_with_booktabs_alone(summary, tmp_path):
    write_tables(summary, [tmp_path / "t.tex"])
    main = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{t}\\end{document}"
    (tmp_path / "main.tex").write_text(main)
    run = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "main.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout[-2000:]


def test_every_special_character_is_escaped():
    assert escape("a_b & 5% #1 {x} $y$ ~z^2 \\") == (
        r"a\_b \& 5\% \#1 \{x\} \$y\$ \textasciitilde{}z\textasciicircum{}2 \textbackslash{}"
    )
    assert escape("σ ≤ 1, ℓ2, n0") == r"$\sigma$ $\le$ 1, $\ell_2$, $n_0$"


def test_markdown_rows_have_equal_width(summary):
    text = markdown(blocks(summary), notes(summary), "T_1")
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().splitlines()}
        assert len(widths) == 1
    assert r"my\_50%&more" in text and "T\\_1" in text


def test_printed_numbers_are_those_of_the_summary(summary):
    first = blocks(summary)[0]
    assert first.columns == ("method", "certificate", "ACR", "0.00", "0.25", "0.50", "0.75")
    row = first.groups[0].rows[0]
    value = summary.iloc[0]
    assert row.cells[2].text == f"{value['acr']:.3f}"
    assert row.cells[4].text == f"{100 * value['certified_accuracy@0.25']:.1f}"
    assert row.cells[4].small == (
        f"{100 * value['certified_accuracy@0.25_low']:.1f}–{100 * value['certified_accuracy@0.25_high']:.1f}"
    )
    assert first.groups[1].title == "σ = 0.5"
    seeds = summary.iloc[3]
    assert first.groups[1].rows[0].cells[2].text == f"{seeds['acr']:.3f} ± {seeds['acr_sd']:.3f}"


def test_published_rows_follow_their_line_with_the_difference(summary):
    rows = blocks(summary)[0].groups[0].rows
    assert [row.role for row in rows] == ["ours", "published", "difference", "ours", "external"]
    assert rows[1].cells[0].text == "published, n = 10,000" and rows[1].cells[4].text == "60.8"
    gap = 100 * (summary.iloc[0]["certified_accuracy@0.25"] - 0.608)
    assert rows[2].cells[4].text == f"{gap:+.1f}".replace("-", "−")


def test_the_best_of_each_column_is_marked_once_and_never_a_published_one(summary):
    for block in blocks(summary):
        for group in block.groups:
            for column in range(len(block.columns)):
                marked = [row for row in group.rows if row.cells[column].best]
                assert len(marked) <= 1 and all(row.role in ("ours", "external") for row in marked)
    first = blocks(summary)[0].groups[0]
    assert [row.cells[3].best for row in first.rows if row.role in ("ours", "external")] == [False, True, False]
    tex = latex(blocks(summary), [], "t", "t")
    assert rf"\textbf{{{100 * summary.iloc[1]['certified_accuracy@0.0']:.1f}}}" in tex


def test_what_prints_like_the_best_is_best_and_equals_have_none(summary):
    level = blocks(summary)[0].groups[1]
    assert [row.cells[2].best for row in level.rows] == [False, False]
    three = summarise([line(), line(method="b"), line(method="c")], RADII, resamples=50)
    three["acr"] = [0.5961, 0.5958, 0.1]
    rows = blocks(three)[0].groups[0].rows
    assert [row.cells[1].best for row in rows] == [True, True, False]


def test_a_single_line_is_not_its_own_best():
    alone = summarise([line()], RADII, resamples=50)
    assert not any(cell.best for b in blocks(alone) for g in b.groups for r in g.rows for cell in r.cells)


def test_a_single_certificate_needs_no_column():
    shown = blocks(summarise([line(), external_line()], RADII, resamples=50))
    assert all("certificate" not in block.columns for block in shown)


def test_unknown_numbers_are_dashes(summary):
    last = blocks(summary)[-1]
    theirs = next(row for row in last.groups[0].rows if row.role == "external")
    shown = dict(zip(last.columns, (cell.text for cell in theirs.cells), strict=True))
    assert (shown["draws/image"], shown["α"], shown["N"], shown["certificate"]) == ("–", "–", "–", "–")
    assert shown["images"] == "200" and shown["abstains (%)"] != "–"


def test_many_radii_are_split_into_legible_blocks():
    many = summarise([line()], [0.1 * i for i in range(20)], resamples=50)
    shown = blocks(many)
    assert len(shown) == 4 and all(len(block.columns) <= 3 + MOST_RADII for block in shown[:-1])
    headings = [name for block in shown[:-1] for name in block.columns[block.over_from :]]
    assert [float(name) for name in headings] == pytest.approx([0.1 * i for i in range(20)])
    check_structure(latex(shown, notes(many), "t", "t"))


def test_tsv_holds_the_summary_in_full_precision(summary, tmp_path):
    write_tables(summary, [tmp_path / "t.tsv", tmp_path / "t.md", tmp_path / "t.tex"], remark="Mind the data.")
    back = pd.read_csv(tmp_path / "t.tsv", sep="\t")
    numbers = summary.select_dtypes("number").columns
    assert np.array_equal(back[numbers].to_numpy(float), summary[numbers].to_numpy(float), equal_nan=True)
    assert back["images"].tolist() == summary["images"].tolist()
    assert "Mind the data." in (tmp_path / "t.md").read_text() and "Mind the data." in (tmp_path / "t.tex").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t.md", "t.tex", "t.tsv"]


def test_an_unknown_format_is_refused_before_anything_is_written(summary, tmp_path):
    with pytest.raises(ValueError, match=r"t\.docx: tables are written as tex, md or tsv"):
        write_tables(summary, [tmp_path / "t.md", tmp_path / "t.docx"])
    assert not list(tmp_path.iterdir())


def test_numbers_are_printed_for_people():
    assert [seconds(v) for v in (0.19964, 15.0, 151.53, 1234.5, 0.0, 0.00021)] == [
        "0.200",
        "15.0",
        "152",
        "1234",
        "0",
        "0.000210",
    ]
    assert [percent(v) for v in (0.12345, -1e-18, 1.0)] == ["12.3", "0.0", "100.0"]
    assert [signed(t) for t in ("0.5", "-0.5", "0.0", "-0.0")] == ["+0.5", "−0.5", "0.0", "0.0"]
