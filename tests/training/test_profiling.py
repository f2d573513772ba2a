"""The steps to profile, as a command line gives them."""

import pytest

from dlx.errors import UserError
from dlx.training import profiling


@pytest.mark.parametrize("span", ["", *"7 7:7 8:7 :7 7: a:b -1:2 1:2:3 0:2000".split()])
def test_a_span_to_profile_is_start_and_stop(span):
  with pytest.raises(UserError, match="profile: expected (START:STOP|at most 1000 steps).* got"):
    profiling.parse(span)
  assert profiling.parse("5:9") == range(5, 9) and not profiling.parse(None)
