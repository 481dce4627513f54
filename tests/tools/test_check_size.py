from __future__ import annotations

from tools.check_size import complaints, main


def function(lines, extra=""):
    return "def long():\n" + extra + "    x = 1\n" * (lines - 1)


def test_sixty_lines_of_code_pass_and_one_more_fails():
    assert list(complaints(function(60), "a.py")) == []
    assert list(complaints(function(61), "a.py")) == [
        "a.py:1: long: 61 lines of code; a function has at most 60. Split it."
    ]


def test_docstrings_comments_and_blank_lines_are_no_code():
    extra = '    """A line.\n\n    More.\n    """\n\n    # why\n'
    assert list(complaints(function(60, extra), "a.py")) == []
    assert len(list(complaints(function(61, extra), "a.py"))) == 1


def test_text_over_several_lines_is_code():
    assert len(list(complaints(function(31, '    y = """' + "\n" * 35 + '"""\n'), "a.py"))) == 1


def test_a_file_has_at_most_400_lines():
    assert list(complaints("# why\n" * 400, "a.py")) == []
    assert list(complaints("# why\n" * 401, "a.py")) == ["a.py: 401 lines; a file has at most 400. Split it."]


def test_the_exit_status_says_whether_there_were_complaints(tmp_path, capsys):
    (tmp_path / "fine.py").write_text(function(10))
    assert main(tmp_path) == 0
    (tmp_path / "long.py").write_text(function(99))
    assert main(tmp_path) == 1
    assert capsys.readouterr().out.endswith("Sizes: 2 files, 1 complaints.\n")
