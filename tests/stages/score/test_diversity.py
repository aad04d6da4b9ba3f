"""Pictures that repeat each other have no diversity, different ones have."""

import pytest

from stages.score.diversity import diversity
from stages.score.similarity import describe
from tests.pictures import photograph, pixels


def test_diversity_is_zero_for_one_picture_repeated_and_higher_for_others() -> None:
    picture = pixels(photograph(1))
    assert diversity(describe([picture] * 3)) == pytest.approx([0, 0, 0], abs=1e-3)
    several = diversity(describe([pixels(photograph(i)) for i in range(6)]))
    assert min(v for v in several if v is not None) > 0.2
    assert diversity(describe([picture])) == [None]
