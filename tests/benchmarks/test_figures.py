"""Tables of RESULTS.md come from the files of the benchmarks, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import figures
from benchmarks.figures import RESULTS, Sheet, command, filled, main, measured, read, table, write

TEXT = "# Results\n\nBefore.\n\n<!-- figures/speed.json -->\nby hand: 3.2 ×\n<!-- end -->\n\nAfter 3.2.\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [["fp32", 12_345, 54.321, None], ["int8", 3, 0.006512, 1234.5]]
    write(measured("python -m speed", ["file", "runs", "rate", "other"], rows, ["numpy"]), tmp_path / "speed.json")
    return tmp_path


def test_a_table_is_made_of_its_file_and_the_text_around_it_stays(folder: Path) -> None:
    made = filled(TEXT, folder)
    assert "| fp32 | 12,345 | 54.32 | – |" in made
    assert "| int8 | 3 | 0.006512 | 1,234 |" in made
    assert "`python -m speed`" in made
    assert "by hand" not in made
    assert made.startswith("# Results\n\nBefore.\n")
    assert made.endswith("<!-- end -->\n\nAfter 3.2.\n")
    assert filled(made, folder) == made


def test_what_is_read_is_what_was_measured(folder: Path) -> None:
    found = read(folder / "speed.json")
    assert found.rows[1][2] == 0.006512
    assert "numpy" in found.libraries
    assert table(found).count("\n") == 5


def test_rows_that_do_not_fit_and_files_that_are_missing_are_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="1 cells for 2 columns"):
        measured("x", ["a", "b"], [[1]], [])
    with pytest.raises(FileNotFoundError):
        filled(TEXT.replace("speed", "other"), folder)


def test_figures_in_words_are_printed_and_kept_without_the_folders_of_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet, out = Sheet(), tmp_path / "said.json"
    sheet.say("reading", "3.2 × Pillow")
    sheet.save("benchmarks.loading", ["read", "--source", str(tmp_path), "--out", str(out), "--images", "7"], [], out)
    assert "3.2 × Pillow" in capsys.readouterr().out
    assert read(out).rows == [["reading", "3.2 × Pillow"]]
    assert read(out).command == f"python -m benchmarks.loading read --source {tmp_path.name} --images 7"


def test_a_figure_changed_by_hand_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = folder / "RESULTS.md"
    monkeypatch.setattr(figures, "RESULTS", results)
    monkeypatch.setattr(figures, "FOLDER", folder)
    results.write_text(TEXT, encoding="utf-8")
    assert main(["--check"]) == 1
    assert main([]) == 0
    assert main(["--check"]) == 0
    results.write_text(results.read_text(encoding="utf-8").replace("54.32", "84.32"), encoding="utf-8")
    assert main(["--check"]) == 1


def test_the_tables_of_the_results_are_those_of_their_files() -> None:
    text = RESULTS.read_text(encoding="utf-8")
    assert "<!-- figures/" in text
    assert filled(text) == text


def test_a_command_can_be_typed_again(tmp_path: Path) -> None:
    words = ["--faces", str(tmp_path), "--only", "LanceDB, all compared", "--out", "x.json"]
    shown = f"--faces {tmp_path.name} --only 'LanceDB, all compared'"
    assert command("benchmarks.some", words) == f"python -m benchmarks.some {shown}"
    assert command("benchmarks.some", []) == "python -m benchmarks.some"
