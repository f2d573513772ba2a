"""`python -m dlx.gradcheck` prints the table and explains a rule."""

import pytest

from dlx.gradcheck import __main__ as program
from dlx.gradcheck import case, check, mutants, report


def test_the_table_has_a_row_with_errors_below_the_bounds(capsys):
  assert program.main(["--markdown", "linear.apply"]) == 0
  header, line, row = capsys.readouterr().out.splitlines()
  assert [cell.strip() for cell in header.strip("|").split("|")] == list(report.COLUMNS)
  assert set(line) == set("| -")
  name, _, by_jax, by_differences, time, _ = (cell.strip() for cell in row.strip("|").split("|"))
  assert name == "linear.apply"
  assert 0 <= float(by_jax) < 1e-11 and 0 < float(by_differences) < 1e-6
  assert float(time) > 0


def test_the_table_shows_the_error_of_a_wrong_rule(capsys, monkeypatch):
  (one,) = report.find(case.all_cases(), "linear.apply")
  wrong = mutants.generate(one, 1)[0].rule
  right = check.by_rule
  monkeypatch.setattr(check, "by_rule", lambda *args, **_: right(*args, rule=wrong))
  assert program.main(["--markdown", "linear.apply"]) == 0
  cells = capsys.readouterr().out.splitlines()[-1].strip("|").split("|")
  assert float(cells[2]) > 1e-3 and float(cells[3]) > 1e-3


def test_a_rule_is_explained_by_derivation_source_numbers_and_mutants(capsys):
  assert program.main(["linear.apply"]) == 0
  text = capsys.readouterr().out
  (one,) = report.find(case.all_cases(), "linear.apply")
  assert "def apply_vjp(" in text and "d_out" in text and one.formula in text
  assert "NOT FOUND" not in text
  for mutant in mutants.generate(one, 3):
    assert f"found: {mutant.what}" in text


def test_an_unknown_name_is_reported_in_one_line_with_the_closest_name(capsys):
  assert program.main(["linaer"]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.count("\n") == 1 and "unknown rule 'linaer'; did you mean linear?" in err


@pytest.mark.parametrize("name", ["linear", "apply"])
def test_a_rule_is_found_by_family_or_function(name):
  assert "linear.apply" in [one.name for one in report.find(case.all_cases(), name)]
