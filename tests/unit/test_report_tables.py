"""Tables are valid LaTeX, Markdown and TSV, and print what the summary holds."""

import re
import shutil
import subprocess
import unicodedata
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from report_samples import drawn_by, external_line, line, published_rows

from certflow.errors import DataError
from certflow.kinds.registry import spec_class
from certflow.report.compare import PublishedCells
from certflow.report.html import html_table
from certflow.report.latex import escape, latex
from certflow.report.layout import MOST_RADII, Block, Cell, Group, Row, blocks
from certflow.report.markdown import escape as in_markdown
from certflow.report.markdown import markdown
from certflow.report.notes import notes
from certflow.report.numbers import counted, down, percent, signed, significant, up
from certflow.report.signs import DEFINITION, OTHER
from certflow.report.summary import summarise
from certflow.report.tables import write_tables
from certflow.report.whose import whose

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


def compiles(folder, body: str, preamble: str = "") -> None:
    """pdflatex must make a document of `body` without an error; skipped where it, or booktabs, is not installed."""
    found = shutil.which("pdflatex") and shutil.which("kpsewhich")
    if not found or not subprocess.run(["kpsewhich", "booktabs.sty"], capture_output=True).stdout:
        pytest.skip("no pdflatex with booktabs on this machine")
    main = f"\\documentclass{{article}}\\usepackage{{booktabs}}{preamble}\\begin{{document}}{body}\\end{{document}}"
    (folder / "main.tex").write_text(main, encoding="utf-8")
    run = subprocess.run(
        ["pdflatex", "-halt-on-error", "-interaction=nonstopmode", "main.tex"], cwd=folder, capture_output=True
    )
    assert run.returncode == 0, run.stdout.decode(errors="replace")[-2000:]


def test_latex_compiles_with_booktabs_alone(summary, tmp_path):
    write_tables(summary, [tmp_path / "t.tex"])
    compiles(tmp_path, "\\input{t}")


SIGNS_OF_EVERY_BLOCK = [
    chr(code)
    for block in ((0x20, 0x600), (0x1D00, 0x3000), (0x4E00, 0x4E10), (0xFB00, 0xFB10), (0x1D400, 0x1D800))
    for code in range(*block)
    if unicodedata.category(chr(code)) != "Cn"
]


@pytest.mark.parametrize("preamble", ["", "\\usepackage[T1]{fontenc}"])
def test_no_character_ends_the_run_of_latex(tmp_path, preamble):
    """Each alone and between letters, in a caption, in bold in a cell, and among other signs."""
    rows = [SIGNS_OF_EVERY_BLOCK[i : i + 40] for i in range(0, len(SIGNS_OF_EVERY_BLOCK), 40)]
    lines = [" ".join(map(escape, row)) + "\n\n" + escape("a".join(row)) + "\n" for row in rows]
    some = "".join(SIGNS_OF_EVERY_BLOCK[:1000])
    cell = f"\\begin{{tabular}}{{l}}{escape(some)}\\\\\\textbf{{{escape(some)}}}\\end{{tabular}}"
    table = f"\\begin{{table}}\\caption{{{escape(some[:300])}}}{cell}\\end{{table}}"
    compiles(tmp_path, "\n".join([DEFINITION, "\\tiny", *lines, table]), preamble)


def test_every_character_has_latex_that_is_complete():
    """The same without LaTeX: braces and dollars in pairs, reserved characters in commands only, ASCII but for the guard."""
    for sign in [*SIGNS_OF_EVERY_BLOCK, "\x00", "\x1b", "\ud800", "\U0001f600"]:
        latex = re.sub(r"\\certflowsign\{.\}\{\{\[\}U\+[0-9A-F]{4,6}\]\}", "", escape(sign))
        assert latex.isascii(), sign
        bare = re.sub(r"\\[\\{}$&%#_]", "", latex)
        assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0, (sign, latex)
        outside = re.sub(r"\$[^$]*\$", "", bare)
        assert not re.search(r"[&%#_]|(?<!\\)\^", outside), (sign, latex)


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("Γ, δ, ε, ϵ, θ, λ, μ, µ, ς, φ, ω, Ω, Α, ο", None),
        ("α→β ⇒ γ", r"$\alpha$$\rightarrow$$\beta$ $\Rightarrow$ $\gamma$"),
        ("ε-ball, φ, ϕ", r"$\varepsilon$-ball, $\varphi$, $\phi$"),
        ("σ̂, x̄", r"$\hat{\sigma}$, \={x}"),
        ("Łukasz, naïve, Ö, ę", r"\L{}ukasz, na\"{\i{}}ve, \"{O}, e"),
        ("10⁻³, x₀, ½, ﬁ", r"10\textsuperscript{$-$}\textsuperscript{3}, x\textsubscript{0}, 1/2, fi"),
        ('"so", “so”, …', r"''so'', ``so'', \ldots{}"),
        ("two\n\nparagraphs\ta\x00b\u200b", r"two paragraphs ab"),
        ("中", r"\certflowsign{中}{{[}U+4E2D]}"),
    ],
)
def test_signs_are_printed_as_what_they_are(text, latex):
    assert escape(text) == latex if latex else escape(text).isascii()


def test_the_guard_for_other_characters_is_defined_where_it_is_used(summary):
    plain = latex(blocks(summary), [], "Greek α", "t")
    assert plain.isascii() and OTHER not in plain
    other = latex(blocks(summary), [], "中", "t")
    assert other.index(DEFINITION) < other.index(r"\certflowsign{中}")


def test_every_special_character_is_escaped():
    assert escape("a_b & 5% #1 {x} $y$ ~z^2 \\") == (
        r"a\_b \& 5\% \#1 \{x\} \$y\$ \textasciitilde{}z\textasciicircum{}2 \textbackslash{}"
    )
    assert escape("σ ≤ 1, ℓ2, n0") == r"$\sigma$ $\le$ 1, $\ell_2$, $n_0$"


def test_markdown_shows_names_as_they_were_typed():
    typed = "$5 and $6, 50 % of \\alpha, _x_{1}^2, <b>&amp;~|\nb"
    assert in_markdown(typed) == r"\$5 and \$6, 50 % of \\alpha, \_x\_\{1\}\^2, \<b\>\&amp;\~\| b"


def test_markdown_rows_have_equal_width(summary):
    text = markdown(blocks(summary), notes(summary), "T_1")
    for table in re.findall(r"(?:^\|.*\|$\n?)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.strip().splitlines()}
        assert len(widths) == 1
    assert r"my\_50%\&more" in text and "T\\_1" in text


def test_an_acr_of_preset_radii_is_printed_as_a_bound_and_not_ranked_among_others():
    sampler = spec_class("sampler", "decide")
    first, second = (
        drawn_by(line(name, seed=seed), sampler.small(radii=[0.1, 0.25])) for seed, name in enumerate(["one", "two"])
    )

    def acr(lines):
        summary = summarise(lines, RADII, resamples=20)
        return summary["acr"], [row.cells[1] for row in blocks(summary)[0].groups[0].rows]

    values, cells = acr([first, second])
    assert [cell.text for cell in cells] == [f"≥ {down(value)}" for value in values]
    assert [cell.best for cell in cells] == [value == values.max() for value in values]
    assert not any(cell.best for cell in acr([first, line("three", mean=2.0)])[1])
    other = drawn_by(line("four", mean=2.0), sampler.small(radii=[0.1, 0.25, 0.3]))
    assert not any(cell.best for cell in acr([first, other])[1])
    sorted_by = [
        body[0]["cells"][2]["key"] for body in html_table(blocks(summarise([first, second], RADII))[0])["bodies"]
    ]
    assert sorted_by == [down(value) for value in values]


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


@pytest.mark.parametrize(
    ("text", "key"),
    [("1e-05", "1e-05"), ("0.001", "0.001"), ("≥ 0.120", "0.120"), ("−0.3", "-0.3"), ("100,000", "100000"), ("–", "–")],
)
def test_cells_are_sorted_by_their_whole_number(text, key):
    row = Row("ours", (Cell("a"), Cell(text)))
    (body,) = html_table(Block(("method", "α"), 1, (Group("σ = 0.5", 0.5, (row,)),)))["bodies"]
    assert body[0]["cells"][2]["key"] == key


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
    assert [significant(v) for v in (0.19964, 15.0, 151.53, 1234.5, 0.0, 0.00021)] == [
        "0.200",
        "15.0",
        "152",
        "1234",
        "0",
        "0.000210",
    ]
    assert [percent(v) for v in (0.12345, -1e-18, 1.0)] == ["12.3", "0.0", "100.0"]
    assert [signed(t) for t in ("0.5", "-0.5", "0.0", "-0.0")] == ["+0.5", "−0.5", "0.0", "0.0"]
    assert [significant(v, 2) for v in (-0.0123, float("nan"))] == ["-0.012", "–"]
    assert [counted(n, "image") for n in (0, 1, 2000)] == ["0 images", "1 image", "2,000 images"]


def test_certified_numbers_are_rounded_down_but_for_rounding_of_the_machine():
    assert [down(v, 1) for v in (9.99, 100 * 0.29, -0.01)] == ["9.9", "29.0", "-0.1"]
    assert [down(v, 2) for v in (0.29, 0.2899, None, float("nan"))] == ["0.29", "0.28", "–", "–"]


def test_what_is_taken_off_is_rounded_up_but_for_rounding_of_the_machine():
    assert [up(v, 1) for v in (0.0, 9.91, 100 * 0.07, 6.6)] == ["0.0", "10.0", "7.0", "6.6"]


# --- results made elsewhere on other images ---------------------------------------------------------------------------


def on(idx, strong: float = 3.0):
    """A line made elsewhere that knows these images only, surer than ours."""
    whole = external_line("theirs", mean=strong, spread=0.1)
    table = whole.seeds[0].table
    return replace(whole, seeds=(replace(whole.seeds[0], table=table[table["idx"].isin(idx)].reset_index(drop=True)),))


def test_lines_on_other_images_are_marked_and_never_in_bold():
    """A file that was cut at the end of a line looks whole: that it has fewer images than ours is said."""
    ours = [line("gaussian", mean=1.0), line("macer", mean=1.2, seed=3)]
    complete, cut = (summarise([*ours, on(range(n))], RADII) for n in (200, 150))
    assert complete["other_images"].tolist() == ["", "", ""]
    assert cut["other_images"].tolist() == ["", "", "on 150 images"] and cut["shared_images"].tolist() == [
        200,
        200,
        150,
    ]
    for summary, label, best in ((complete, "theirs", 2), (cut, "theirs (on 150 images)", 1)):
        rows = blocks(summary)[0].groups[0].rows
        assert rows[2].cells[0].text == label
        assert [row.cells[1].best for row in rows] == [i == best for i in range(3)]
    told = "Not on our 200 images, so the rates cannot be compared: theirs at σ = 0.25 (150 images, all of them among ours)"
    assert told in "\n".join(notes(cut)) and "Not on our" not in "\n".join(notes(complete))


def test_notes_count_a_single_image():
    told = "\n".join(notes(summarise([line("gaussian", images=1), on([0])], RADII)))
    assert "points with 1 image (95 %)" in told and "among m = 1 image," in told and "1 images" not in told


def test_as_many_other_images_are_others():
    ours = line("gaussian", images=100)
    summary = summarise([ours, on(range(50, 150))], RADII)
    assert summary["other_images"].tolist() == ["", "on 100 other images"]
    assert "(100 images, 50 of them among ours)" in "\n".join(notes(summary))


def test_labels_that_contradict_ours_are_refused(tmp_path):
    ours, theirs = line("gaussian"), on(range(200))
    table = theirs.seeds[0].table.copy()
    table.loc[7, ["label", "predict", "correct", "radius"]] = [8, -1, 0, 0.0]
    path = tmp_path / "theirs.tsv"
    table[["idx", "label", "predict", "radius", "correct", "time"]].to_csv(path, sep="\t", index=False)
    wrong = replace(theirs, seeds=(replace(theirs.seeds[0], table=table, path=path),))
    with pytest.raises(
        DataError, match=r"theirs.tsv: line 9: image idx 7 has label 8, but 7 in .*1 of 200 images in both"
    ):
        summarise([ours, wrong], RADII)


# --- which lines a note is about --------------------------------------------------------------------------------------


def test_notes_name_the_fewer():
    lines = [line(name) for name in ("gaussian", "macer", "smoothmix")]
    summary = summarise([*lines, external_line("theirs")], RADII)
    assert whose(summary, summary) == ""
    assert whose(summary[:1], summary) == "gaussian"
    assert whose(summary[:3], summary) == "all but theirs"
    assert "Noise of all but theirs: float" in "\n".join(notes(summary))


def test_notes_name_lines_in_full_where_methods_do_not_tell_them_apart():
    summary = summarise([line("gaussian"), line("gaussian", certificate="np_2"), line("gaussian", 0.5)], RADII)
    assert whose(summary[:1], summary) == "gaussian, gauss-0.25, np"
    assert whose(summary[:2], summary) == "all but gaussian, gauss-0.5, np"


def test_rows_that_share_their_noise_are_said_to(summary):
    assert sum("common random numbers" in note for note in notes(summary)) == 1
    alone = summarise([line("gaussian"), external_line()], RADII, resamples=50)
    assert not any("common random numbers" in note for note in notes(alone))
