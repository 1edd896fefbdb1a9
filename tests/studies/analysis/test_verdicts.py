"""Real differences are found; where nothing differs, claims are supported as rarely as stated."""

import numpy as np
import pytest

from sagan.studies.analysis.intervals import paired_difference, verdict
from sagan.studies.analysis.table import ResultTable
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.definitions.attention import STUDY

SIMULATED = 2000


def verdicts(effect: float, seeds: int) -> dict[str, float]:
    """Return the share of each verdict in simulated studies with noise of deviation 1."""
    noise = np.random.default_rng(seeds).standard_normal((SIMULATED, seeds))
    given = [verdict(paired_difference(row)) for row in effect + noise]
    return {
        name: given.count(name) / SIMULATED for name in ("supported", "not supported", "undecided")
    }


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_if_nothing_differs_one_claim_in_forty_is_supported(seeds: int) -> None:
    rates = verdicts(effect=0, seeds=seeds)
    # 0.025, and four standard deviations of a share of 2,000
    assert rates["supported"] < 0.025 + 4 * np.sqrt(0.025 * 0.975 / SIMULATED)
    assert rates["undecided"] > 0.93


def test_ten_deviations_are_found_with_three_seeds_and_two_with_ten() -> None:
    assert verdicts(effect=10, seeds=3)["supported"] > 0.99
    assert verdicts(effect=2, seeds=10)["supported"] > 0.99
    assert verdicts(effect=-10, seeds=3)["not supported"] > 0.99


def test_one_seed_decides_nothing() -> None:
    difference = paired_difference([5.0])
    assert (difference.low, difference.high) == (-np.inf, np.inf)
    assert verdict(difference) == "undecided"


def test_equal_differences_decide_nothing() -> None:
    """Three counts of one against zero have no spread, but that does not make them certain."""
    assert verdict(paired_difference([1.0, 1.0, 1.0])) == "undecided"


def test_the_interval_of_three_differences_follows_the_t_table() -> None:
    difference = paired_difference([1.0, 2.0, 3.0])
    assert difference.mean == 2
    # 4.3027, from tables of Student's t with 2 degrees of freedom, times 1 / sqrt(3)
    assert difference.high - difference.mean == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    assert difference.low == pytest.approx(2 - 4.30265 / np.sqrt(3), rel=1e-5)


def test_the_bootstrap_would_be_wrong_in_a_quarter_of_the_cases() -> None:
    noise = np.random.default_rng(0).standard_normal((1000, 3))
    decided = [low > 0 or high < 0 for low, high in (paired_difference(r).bootstrap for r in noise)]
    assert np.mean(decided) == pytest.approx(0.25, abs=0.05)


def test_the_bootstrap_agrees_with_its_definition() -> None:
    """Percentiles of means of differences drawn with replacement, to rounding."""
    values = np.random.default_rng(3).standard_normal(5)
    rng = np.random.Generator(np.random.Philox(0))
    means = values[rng.integers(5, size=(10_000, 5))].mean(axis=1)
    expected = np.quantile(means, [0.025, 0.975])
    assert paired_difference(values).bootstrap == pytest.approx(expected, rel=1e-12)


def planted(results, advantage: float, noise: float) -> dict[tuple[str, str], str]:
    """Return verdicts on results in which attention-16 has an advantage over all other variants.

    Seeds differ by much more than the advantage, so that only pairing can find it.
    """
    rng = np.random.default_rng(0)
    shared = 10 * rng.standard_normal(5)
    distances = {
        name: shared + noise * rng.standard_normal(5) - (name == "attention-16") * advantage
        for name in ("none", "residual-16", "attention-8", "attention-16")
    }
    found = ResultTable(STUDY, results(distances)).outcomes()
    for outcome in found:
        assert len(outcome.advantage.values) == 5
    return {(f.claim.variant, f.claim.against): f.verdict for f in found}


def test_a_planted_advantage_is_found_only_where_it_was_planted(results) -> None:
    assert planted(results, advantage=1.0, noise=0.1) == {
        ("attention-16", "none"): "supported",
        ("attention-16", "residual-16"): "supported",
        ("attention-8", "none"): "undecided",
        ("attention-16", "attention-8"): "supported",
    }


def test_a_planted_disadvantage_is_not_supported(results) -> None:
    found = planted(results, advantage=-1.0, noise=0.1)
    assert found["attention-16", "none"] == "not supported"


def test_without_an_advantage_no_claim_is_supported(results) -> None:
    assert "supported" not in planted(results, advantage=0.0, noise=0.1).values()


def test_seeds_without_a_partner_are_ignored(results) -> None:
    distances = {"none": [1.0, 2.0, 3.0], "attention-16": [0.9, 1.9]}
    (outcome,) = ResultTable(STUDY, results(distances)).outcomes()
    assert outcome.advantage.values == pytest.approx((0.1, 0.1))


def test_higher_accuracies_are_better(result) -> None:
    accuracies = {"attention": [0.50, 0.61, 0.70], "none": [0.40, 0.50, 0.61]}
    found = [
        result(variant, seed, 0.0, study="discriminator", numbers={"accuracy": accuracy})
        for variant, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]
    (outcome,) = ResultTable(discriminator.STUDY, found).outcomes()
    assert outcome.advantage.mean == pytest.approx(0.1)
    assert outcome.verdict == "supported"


def test_the_table_by_layer_averages_last_values_over_seeds(result) -> None:
    found = [
        result("both", seed, 0.0, study="spectral-norm",
               curves={"sigma/generator/linear": [(1, 9.0), (2, 1.0 + seed)]})
        for seed in (0, 1)
    ]  # fmt: skip
    assert ResultTable(spectral_norm.STUDY, found).layers("both") == {"generator/linear": 1.5}
