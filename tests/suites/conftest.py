"""The ExecuTorch wheel's own suites over this runtime.

ETWEBGPU_SUITE_SHARE of the cases run, chosen by their names: all of them unless it is set. A case
of which nothing is delegated says nothing of this runtime; how many there were is printed at the
end.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from wheel_operators import DELEGATED


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[bool], None]:
    """Counts a case: whether anything of it was delegated."""

    def count(delegated: bool) -> None:
        DELEGATED[request.path.stem, delegated] += 1

    return count
