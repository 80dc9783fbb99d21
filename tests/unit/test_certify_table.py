"""The certificate table: columns, the field's format, and errors that name file and image."""

import os

import numpy as np
import pandas as pd
import pytest

from certflow.certify import CountsError, certificate_table, read_field_table
from certflow.certify.base import Drawn
from certflow.certify.field_table import FIELD_COLUMNS, format_time, parse_time
from certflow.certify.table import TABLE_COLUMNS
from certflow.errors import ArtefactError, DataError
from certflow.kinds.registry import spec_class

GAUSSIAN = spec_class("noise", "gaussian")(sigma=0.25)
SPEC = spec_class("certificate", "neyman_pearson")(sampler="cohen")
COUNTS = np.array([[990, 10], [400, 600], [500, 500], [0, 0]])
SECONDS = np.array([14.73608, 0.0, 3599.9999999, 90061.5])


def plan() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "idx": [3, 1, 4, 2],
            "label": [0, 0, 1, 1],
            "selected": [0, 1, 1, 0],
            "k0": [100, 60, 51, 52],
            "n0": 100,
            "n": [1000, 1000, 1000, 0],
        },
        index=[9, 8, 7, 6],
    )


def table() -> pd.DataFrame:
    return certificate_table(Drawn(plan(), COUNTS, GAUSSIAN), SPEC, SECONDS)


def test_columns_and_values():
    rows = table()
    assert tuple(rows.columns) == TABLE_COLUMNS
    assert list(rows.columns[:6]) == ["idx", "label", "predict", "radius", "correct", "time"]
    assert list(rows.idx) == [3, 1, 4, 2] and list(rows.predict) == [0, 1, -1, -1]
    assert list(rows.correct) == [1, 0, 0, 0]
    assert list(rows.time) == ["0:00:14.736080", "0:00:00.000000", "1:00:00.000000", "25:01:01.500000"]
    assert list(rows.n) == [1000, 1000, 1000, 0] and (rows.n0 == 100).all() and list(rows.k0) == [100, 60, 51, 52]
    assert list(rows.index) == [0, 1, 2, 3]
    assert not rows.isna().any().any()


def test_own_tables_are_field_tables(tmp_path):
    rows = table()
    rows.to_csv(tmp_path / "own.tsv", sep="\t", index=False)
    back = read_field_table(tmp_path / "own.tsv")
    for name in ("idx", "label", "predict", "radius", "correct"):
        np.testing.assert_array_equal(back[name], rows[name])
    np.testing.assert_allclose(back.seconds, SECONDS, atol=5e-7)
    peer = pd.read_csv(tmp_path / "own.tsv", delimiter="\t")  # as the field's analysis scripts read it
    assert (peer["correct"] & (peer["radius"] >= 0.25)).mean() == 0.25


def test_errors_name_file_and_image():
    broken = COUNTS + [[0, 0], [1, 0], [0, 0], [0, 0]]
    with pytest.raises(CountsError, match="^image idx 1: counts sum to 1001"):
        certificate_table(Drawn(plan(), broken, GAUSSIAN), SPEC, SECONDS)
    with pytest.raises(ArtefactError, match="counts.npz: image idx 1: .*; delete it and run again"):
        certificate_table(Drawn(plan(), broken, GAUSSIAN), SPEC, SECONDS, source="counts.npz")
    for seconds, message in (
        (SECONDS[:3], "do not fit"),
        (-SECONDS, "idx 3: took"),
        (SECONDS * np.nan, "idx 3: took nan"),
    ):
        with pytest.raises(CountsError, match=message):
            certificate_table(Drawn(plan(), COUNTS, GAUSSIAN), SPEC, seconds)


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("radius", np.nan, "not finite"),
        ("radius", -0.1, "negative"),
        ("predict", 2, "out of range"),
        ("predict", -2, "out of range"),
        ("predict", -1, "abstained"),
    ],
)
def test_a_certificate_that_breaks_the_rules_is_caught(column, value, message):
    class Broken(type(SPEC)):
        def certify(self, drawn):
            rows = super().certify(drawn)
            rows.loc[0, column] = value
            return rows

    with pytest.raises(ValueError, match=message):
        certificate_table(Drawn(plan(), COUNTS, GAUSSIAN), Broken(sampler="cohen"), SECONDS)


def test_columns_that_a_certificate_adds_come_last():
    class Longer(type(SPEC)):
        def certify(self, drawn):
            return super().certify(drawn).assign(radius_linf=0.1)

    rows = certificate_table(Drawn(plan(), COUNTS, GAUSSIAN), Longer(sampler="cohen"), SECONDS)
    assert tuple(rows.columns) == (*TABLE_COLUMNS, "radius_linf")


GOOD = [
    ["0", "3", "3", "0.217", "1", "0:00:13.736080"],
    ["20", "7", "-1", "0.0", "0", "0:00:13.771528"],
    ["40", "4", "1", "0.405", "0", "0:00:13.9"],
]


def written(tmp_path, rows, header=FIELD_COLUMNS, end="\n"):
    path = tmp_path / "peer.tsv"
    path.write_text(end.join("\t".join(row) for row in [header, *rows]) + end)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_reads_a_peers_table(tmp_path, end):
    rows = read_field_table(written(tmp_path, GOOD, end=end))
    assert list(rows.columns) == [*FIELD_COLUMNS, "seconds"]
    assert list(rows.radius) == [0.217, 0.0, 0.405] and list(rows.predict) == [3, -1, 1]
    assert list(rows.seconds) == [13.73608, 13.771528, 13.9]
    assert rows[["idx", "label", "predict", "correct"]].dtypes.eq(np.int64).all()


def test_reads_columns_in_any_order_with_more_between(tmp_path):
    header = [*FIELD_COLUMNS[::-1], "note"]
    rows = [[*row[::-1], "x"] for row in GOOD]
    pd.testing.assert_frame_equal(
        read_field_table(written(tmp_path, rows, header)), read_field_table(written(tmp_path, GOOD))
    )


@pytest.mark.parametrize(
    "row, column, value, message",
    [
        (1, "radius", "nan", "line 3: radius nan is not a finite"),
        (0, "radius", "inf", "line 2: radius inf"),
        (0, "radius", "-0.2", "line 2: radius -0.2"),
        (1, "radius", "0.1", "line 3: abstains with radius 0.1"),
        (2, "correct", "1", "line 4: correct is 1, but predict is 1 and label 4"),
        (0, "correct", "0", "line 2: correct is 0"),
        (2, "idx", "0", r"line 4: image idx 0 occurs again \(first in line 2\)"),
        (2, "idx", "-1", "line 4: idx -1"),
        (1, "predict", "-2", "line 3: predict -2"),
        (1, "label", "-1", "line 3: idx 20 or label -1 is negative"),
        (1, "label", "seven", "line 3: label: cannot read 'seven'"),
        (1, "label", "7.0", "line 3: label: cannot read '7.0'"),
        (2, "radius", "", "line 4: radius: cannot read ''"),
        (2, "time", "soon", "line 4: time: cannot read 'soon'"),
        (2, "time", "-13.9", "line 4: time: cannot read '-13.9'"),
        (2, "time", "inf", "line 4: time: cannot read 'inf'"),
        (2, "time", "0:60:00", "line 4: time: cannot read '0:60:00'"),
        (2, "time", "0:59:60", "line 4: time: cannot read '0:59:60'"),
        (2, "time", "75:60.0", "line 4: time: cannot read '75:60.0'"),
        (2, "time", "75:12.5.1", "line 4: time: cannot read '75:12.5.1'"),
        (0, "radius", "1e999", "line 2: radius inf is not a finite"),
        (0, "radius", "0_1", "line 2: radius: cannot read '0_1'"),
        (0, "radius", "٠.٢", "line 2: radius: cannot read '٠.٢'"),
        (0, "idx", "1" * 19, "line 2: idx: cannot read '1111111111111111111'"),
        (0, "correct", "yes", "line 2: correct: cannot read 'yes'"),
        (0, "correct", "False", "line 2: correct is 0, but predict is 3 and label 3"),
        (1, "correct", "True", "line 3: correct is 1, but predict is -1 and label 7"),
        (1, "idx", "x20", "line 3: idx: cannot read 'x20'"),
    ],
)
def test_refuses_rows_and_names_the_line(tmp_path, row, column, value, message):
    rows = [list(fields) for fields in GOOD]
    rows[row][FIELD_COLUMNS.index(column)] = value
    path = written(tmp_path, rows)
    with pytest.raises(DataError, match=f"peer.tsv: {message}.*; give a complete tab-separated table"):
        read_field_table(path)


def test_refuses_files_that_are_no_such_table(tmp_path):
    with pytest.raises(DataError, match="nowhere.tsv: cannot be read"):
        read_field_table(tmp_path / "nowhere.tsv")
    with pytest.raises(DataError, match="line 1: lacks the columns radius"):
        read_field_table(written(tmp_path, [], ["idx", "label", "predict", "correct", "time"]))
    with pytest.raises(DataError, match="has no rows"):
        read_field_table(written(tmp_path, []))
    with pytest.raises(DataError, match="line 4: has 4 fields, not 6"):
        read_field_table(written(tmp_path, [*GOOD[:2], GOOD[2][:4]]))
    with pytest.raises(DataError, match="line 1: lacks the columns idx"):
        read_field_table(written(tmp_path, [], [""], end=""))
    with pytest.raises(DataError, match="line 4: has 1 fields, not 6"):
        read_field_table(written(tmp_path, [*GOOD[:2], GOOD[2][:1]], end="\r\n"))
    with pytest.raises(DataError, match="line 1: names the columns radius twice"):
        read_field_table(written(tmp_path, [], [*FIELD_COLUMNS, "radius"]))
    (tmp_path / "binary.tsv").write_bytes(b"\x80\x00\xff\xfe")
    with pytest.raises(DataError, match="not a text file in UTF-8"):
        read_field_table(tmp_path / "binary.tsv")
    with pytest.raises(DataError, match="is not a file"):
        read_field_table(tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        read_field_table("a\0b")
    commas = tmp_path / "commas.csv"
    commas.write_text("\n".join(",".join(row) for row in [FIELD_COLUMNS, *GOOD]))
    with pytest.raises(DataError, match="commas.csv: line 1: .*separated by commas.*tab-separated"):
        read_field_table(commas)


def test_a_file_larger_than_any_table_is_not_read(tmp_path):
    with open(tmp_path / "huge.tsv", "wb") as file:
        file.truncate(2**40)
    with pytest.raises(DataError, match=r"huge.tsv: has 1,099,511,627,776 bytes"):
        read_field_table(tmp_path / "huge.tsv")


def test_the_largest_file_that_is_read_is_fifty_times_a_table_of_all_imagenet(tmp_path, monkeypatch):
    """50,000 images, some hundred bytes each; the zeros that the files are made of here are not read."""
    row, path = written(tmp_path, GOOD).read_bytes(), tmp_path / "peer.tsv"
    monkeypatch.setattr(type(path), "read_bytes", lambda path: row)
    for size, message in ((2**28, None), (2**28 + 1, "has 268,435,457 bytes")):
        os.truncate(path, size)
        if message is None:
            assert len(read_field_table(path)) == 3
            continue
        with pytest.raises(DataError, match=message):
            read_field_table(path)
    assert 45 < 2**28 / (50_000 * 107) < 55


SIX = "\t".join(FIELD_COLUMNS)


@pytest.mark.parametrize(
    ("producer", "text", "rows"),
    [
        ("locuslab/smoothing, CIFAR-10: seconds", SIX + "\n0\t3\t3\t0.378\t1\t15.4\n", [15.4]),
        (
            "suhyeok24/FT-CADIS: a running count, and correct in words",
            "idx\tlabel\tpredict\tradius\tcorrect_num\tcorrect\ttime\n0\t3\t3\t0.378\t1\tTrue\t0:00:14.2\n"
            "20\t7\t-1\t0.0\t1\tFalse\t1 day, 0:00:14\n",
            [14.2, 86414.0],
        ),
        (
            "roy-ch/Input-Specific-Certification: other columns, and a summary below",
            "idx\tlabel\tpredict\tpA\tsamplesize\tradius\tcorrect\ttime_forward\n0\t3\t3\t0.950\t10000\t0.411\t1\t0.123\n"
            "===Certification Summary(absolute)===\nimage number=1, total time=1.2\nRadius: 0.0  Number: 1  Acc: 100.0%\n"
            "ACR: 0.411\n",
            [0.123],
        ),
        (
            "a spreadsheet: byte-order mark, times cut short",
            "\ufeff" + SIX + "\r\n0\t3\t3\t0.378\t1\t00:14.2\r\n",
            [14.2],
        ),
        (
            "pandas, with its index; no times",
            "\tidx\tlabel\tpredict\tcorrect\tradius\n0\t5\t3\t3\ttrue\t3.78e-1",
            [np.nan],
        ),
        (
            "blanks for tabs, as terminals copy",
            "\nidx label  predict radius correct time \n  0  3  3  0.378  1  0:00:14.2\n\n",
            [14.2],
        ),
        (
            "blanks around fields, a tab at the end",
            "idx\tlabel\tpredict \tradius\tcorrect\ttime\t\n0 \t 3\t3\t0.378\t1\t\t\n",
            [np.nan],
        ),
        ("pandas' own times", SIX + "\n0\t3\t3\t0.378\t1\t2 days 01:00:14\n", [176414.0]),
    ],
)
def test_reads_what_other_projects_write(tmp_path, producer, text, rows):
    path = tmp_path / "theirs.tsv"
    path.write_text(text, encoding="utf-8", newline="")
    table = read_field_table(path)
    assert list(table.columns) == [*FIELD_COLUMNS, "seconds"]
    np.testing.assert_allclose(table.seconds, rows, err_msg=producer)
    assert table.correct[0] == 1 and table.label[0] == 3 and table.radius[0] in (0.378, 0.411)


def test_reads_the_unicode_text_of_spreadsheets(tmp_path):
    (tmp_path / "wide.tsv").write_text("\t".join(FIELD_COLUMNS) + "\n0\t3\t3\t0.378\t1\t5\n", encoding="utf-16")
    assert list(read_field_table(tmp_path / "wide.tsv").radius) == [0.378]


def test_rows_are_never_taken_for_text_below_the_table(tmp_path):
    damaged = written(tmp_path, [*GOOD[:2], ["x40 4", "1", "0.405", "0", "0:00:13.9"]])
    with pytest.raises(DataError, match="line 4: has 5 fields, not 6"):
        read_field_table(damaged)
    between = written(tmp_path, [GOOD[0], ["a line of text"], ["and one more"], *GOOD[1:]])
    with pytest.raises(DataError, match="line 3: is not a row, and rows follow it"):
        read_field_table(between)


def test_lines_are_counted_as_editors_count_them(tmp_path):
    header, rows = [*FIELD_COLUMNS, "note"], [[*row, "a\u2028b\x0c"] for row in GOOD]
    rows[2][3] = "-1"
    with pytest.raises(DataError, match="line 4: radius -1.0"):
        read_field_table(written(tmp_path, rows, header))


def test_times_round_trip():
    for seconds in (0.0, 1e-6, 59.999999, 59.9999999, 3600.5, 10**6 + 0.25):
        assert parse_time(format_time(seconds)) == pytest.approx(seconds, abs=5.1e-7)
    assert str(pd.to_timedelta(format_time(14.73608))).endswith("00:00:14.736080")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("0:59:59.9", 3599.9), ("75:59.9", 4559.9), ("1 day, 23:00:00", 47 * 3600), ("NaN", np.nan)],
)
def test_times_in_the_ways_that_projects_write_them(text, seconds):
    assert parse_time(text) == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize("options", [{}, {"bound_form": "two"}, {"bound": "randomized"}])
def test_slack_reaches_every_form_of_the_bound(options):
    three = np.array([[990, 6, 4], [300, 600, 100], [400, 500, 100], [0, 0, 0]])
    spec = spec_class("certificate", "neyman_pearson")(sampler="cohen", **options)
    plain, loose = (
        certificate_table(Drawn(plan(), three, GAUSSIAN, slack=slack), spec, SECONDS) for slack in (0.0, 1e-3)
    )
    drawn = plain["n"] > 0
    assert (loose["p_lower"][drawn] <= plain["p_lower"][drawn] - 1e-3).all()
    assert (loose["p_upper"] >= plain["p_upper"]).all()
    certified = plain["radius"] > 0
    assert certified.sum() >= 2 and (loose["radius"][certified] < plain["radius"][certified]).all()
    if "bound" in options:
        assert (loose["radius_plain"][certified] < plain["radius_plain"][certified]).all()


def test_a_certificate_that_cannot_give_slack_away_is_not_asked_to():
    double = spec_class("certificate", "dsrs")(sampler="x")
    with pytest.raises(ValueError, match="kind dsrs cannot use exact noise"):
        certificate_table(Drawn(plan(), COUNTS, GAUSSIAN, slack=1e-12), double, SECONDS)


def test_slack_reaches_an_l2_certificate_inside_another():
    spec = spec_class("certificate", "inscribed")(norm="linf", sampler="cohen", of={"kind": "neyman_pearson"})
    plain, loose = (
        certificate_table(Drawn(plan(), COUNTS, GAUSSIAN, slack=slack, dim=64), spec, SECONDS) for slack in (0.0, 1e-3)
    )
    assert 0 < loose["radius"][0] < plain["radius"][0]
    assert loose["p_lower"][0] <= plain["p_lower"][0] - 1e-3
