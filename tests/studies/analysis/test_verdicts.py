"""Verdicts come at their stated rates, of all four kinds, with a plan's looks and without."""

import numpy as np
import pytest
from scipy import stats

from sagan.studies.analysis.decisions import LEVEL, VERDICTS, evidence, settle
from sagan.studies.analysis.intervals import interval_over_images, paired_difference
from sagan.studies.analysis.power import (
    MIN_FOR_LOOKS,
    direction_power,
    no_effect_power,
    planned_looks,
    seeds_needed,
    seeds_to_decide,
)
from sagan.studies.analysis.sequential import nominal_levels
from sagan.studies.analysis.table import ResultTable
from sagan.studies.definitions import discriminator, spectral_norm
from sagan.studies.definitions.attention import STUDY

SIMULATED = 2000
RATIO = 1.0  # delta in standard deviations of the paired differences
CLAIMS = 4
DELTA = 1.0


def simulated(effects: list[float], looks: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Return verdicts (SIMULATED, claims) on studies with these true effects, in units of delta."""
    noise = np.random.default_rng(seed).standard_normal((SIMULATED, len(effects), looks[-1]))
    advantages = DELTA * (np.array(effects)[:, None] + noise / RATIO)
    p = np.stack([evidence(advantages[..., :look], np.array([DELTA])) for look in looks])
    return np.array(VERDICTS)[settle(p, looks)]


def rates(found: np.ndarray) -> dict[str, float]:
    return {name: float((found == name).mean()) for name in VERDICTS}


def chance(share: float) -> float:
    """Return four standard deviations of a share of the simulated studies."""
    return 4 * np.sqrt(share * (1 - share) / SIMULATED)


@pytest.mark.parametrize(
    ("effect", "verdict"),
    [(1.0, "supported"), (-1.0, "contradicted"), (0.0, "no effect larger than delta")],
)
@pytest.mark.parametrize("claims", [1, CLAIMS])
def test_a_planned_study_finds_an_effect_of_delta_and_its_absence_with_the_stated_power(
    effect: float, verdict: str, claims: int
) -> None:
    looks = planned_looks(seeds_needed(RATIO, claims))
    assert len(looks) == 3
    found = rates(simulated([effect] * claims, looks))
    assert found[verdict] > 0.9 - chance(0.9)
    assert found["undecided"] < 0.1 + chance(0.1)
    assert found[verdict] + found["undecided"] > 1 - LEVEL - chance(LEVEL)


@pytest.mark.parametrize("seeds", [4, 8, 11])
def test_verdicts_are_undecided_as_often_as_computed(seeds: int) -> None:
    """With too few seeds, and one look, so that the computed power is exact."""
    differs, small = direction_power(seeds, RATIO, 1), no_effect_power(seeds, RATIO, 1)
    assert rates(simulated([0.0], (seeds,)))["no effect larger than delta"] == pytest.approx(
        small, abs=chance(small)
    )
    supported = rates(simulated([1.0], (seeds,)))["supported"]
    # A claim may also be better than nothing and by less than delta; the test of that comes first.
    assert differs - LEVEL - chance(differs) < supported < differs + chance(differs)
    at_zero = rates(simulated([0.0], (seeds,)))
    assert at_zero["undecided"] == pytest.approx(1 - LEVEL - small, abs=LEVEL + chance(0.5))


@pytest.mark.parametrize("looks", [(3,), (12,), (10, 15, 19)])
@pytest.mark.parametrize("effects", [[0.0] * CLAIMS, [0.0, 0.0, 1.0, -1.0], [1.0] * CLAIMS])
def test_a_study_of_four_claims_rarely_has_a_wrong_verdict_of_either_kind(
    effects: list[float], looks: tuple[int, ...]
) -> None:
    found = simulated(effects, looks, seed=1)
    true = np.array(effects)
    wrong_direction = np.isin(found, ["supported", "contradicted"])[:, true == 0].any(axis=1)
    missed = (found == "no effect larger than delta")[:, true != 0].any(axis=1)
    opposite = ((found == "contradicted") & (true > 0)) | ((found == "supported") & (true < 0))
    for wrong in (wrong_direction, missed, opposite.any(axis=1)):
        assert wrong.mean() < LEVEL + chance(LEVEL)


def test_an_effect_of_half_of_delta_may_be_called_better_or_small_but_never_worse() -> None:
    found = rates(simulated([0.5], (40,)))
    assert found["contradicted"] == 0
    assert found["supported"] > 0.05
    assert found["no effect larger than delta"] > 0.5


@pytest.mark.parametrize("effect", [0.0, 0.3, 0.6, 1.0, 2.0])
def test_as_many_seeds_as_are_said_to_decide_a_known_effect_do(effect: float) -> None:
    seeds = seeds_to_decide(effect * RATIO, RATIO, claims=1)
    found = rates(simulated([effect], planned_looks(seeds)))
    assert found["undecided"] < 0.1 + chance(0.1)
    fewer = rates(simulated([effect], (max(2, seeds // 2),)))
    assert fewer["undecided"] > 0.1 + chance(0.1)


def test_an_effect_near_half_of_delta_takes_more_seeds_than_one_of_delta_or_none() -> None:
    between = seeds_to_decide(0.5, 1.0, claims=1)
    assert between > 1.2 * max(seeds_to_decide(effect, 1.0, claims=1) for effect in (0.0, 1.0))


@pytest.mark.parametrize("seeds", [MIN_FOR_LOOKS, 2 * MIN_FOR_LOOKS])
def test_looks_at_few_seeds_are_wrong_hardly_more_often_than_one_look(seeds: int) -> None:
    looks = planned_looks(seeds)
    assert len(looks) == 3
    noise = np.random.default_rng(0).standard_normal((40_000, seeds))
    levels = nominal_levels(LEVEL / 2, looks)
    crossed = [
        np.abs(stats.ttest_1samp(noise[:, :look], 0, axis=1).statistic)
        > stats.t.isf(level, look - 1)
        for look, level in zip(looks, levels, strict=True)
    ]
    assert np.any(crossed, axis=0).mean() < 1.1 * LEVEL


def test_looking_three_times_at_the_uncorrected_level_would_be_wrong_too_often() -> None:
    looks = (10, 15, 20)
    noise = np.random.default_rng(0).standard_normal((SIMULATED, looks[-1]))
    p = [stats.ttest_1samp(noise[:, :look], 0, axis=1).pvalue for look in looks]
    assert (np.min(p, axis=0) < LEVEL).mean() > LEVEL + chance(LEVEL)


def test_levels_at_looks_are_those_of_the_published_tables() -> None:
    """Bounds of z for three equal steps at 0.025 one-sided, spent as Lan & DeMets do."""
    found = stats.norm.isf(nominal_levels(0.025, (1, 2, 3)))
    assert found == pytest.approx([3.7103, 2.5114, 1.9930], abs=1e-4)
    assert nominal_levels(0.05, (7,)) == pytest.approx((0.05,))


def test_holm_decides_a_claim_that_needs_others_to_be_decided_first() -> None:
    p = np.ones((1, 3, 3))
    p[0, :, 0] = [0.004, 0.012, 0.024]  # at one-sided 2.5%: 0.0083, then 0.0125, then 0.025
    assert [VERDICTS[v] for v in settle(p, [1])] == ["supported"] * 3
    p[0, 1, 0] = 0.013
    assert [VERDICTS[v] for v in settle(p, [1])] == ["supported", "undecided", "undecided"]
    assert VERDICTS[settle(p, [1], family=10)[0]] == "undecided"


def test_what_an_early_look_finds_stays_found_whatever_the_next_looks_say() -> None:
    p = np.ones((3, 2, 3))  # of looks that are still to come, p-values are 1
    p[0, 0, 0] = p[0, 1, 1] = 1e-6
    assert [VERDICTS[v] for v in settle(p, [4, 6, 8])] == ["supported", "contradicted"]
    p[1:, 0, 1] = 1e-9
    assert VERDICTS[settle(p, [4, 6, 8])[0]] == "supported"


def test_a_share_of_the_other_number_is_tested_as_a_ratio_of_means() -> None:
    """With a common factor for each seed, the ratio is known exactly though differences vary."""
    other = np.exp(np.random.default_rng(0).standard_normal(6))
    assert evidence(0.03 * other, 0.05 * other)[2] < 0.05
    assert evidence(0.06 * other, 0.05 * other)[2] > 0.95


def test_the_interval_over_images_covers_as_often_as_stated() -> None:
    """Seeds and images both vary; Student's interval over seeds covers far less often."""
    rng = np.random.default_rng(0)
    covered = narrow = 0
    for _ in range(500):
        found = (
            rng.standard_normal((8, 1)) + 4 * rng.standard_normal((1, 10))
            + rng.standard_normal((8, 10))
        )  # fmt: skip
        low, high = interval_over_images(found, float(found.mean()))
        covered += low < 0 < high
        seeds = paired_difference(found.mean(axis=1))
        narrow += seeds.low < 0 < seeds.high
        assert high - low >= (seeds.high - seeds.low) * (1 - 1e-9)
    assert covered / 500 == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / 500))
    assert narrow / 500 < 0.6


def test_one_seed_decides_nothing() -> None:
    difference = paired_difference([5.0])
    assert (difference.low, difference.high) == (-np.inf, np.inf)
    assert (evidence(np.array([5.0]), np.array([1.0])) == 1).all()


def test_equal_differences_decide_nothing() -> None:
    """Three counts of one against zero have no spread, but that does not make them certain."""
    assert (evidence(np.array([1.0, 1.0, 1.0]), np.array([5.0])) == 1).all()


def test_the_interval_of_three_differences_follows_the_t_table() -> None:
    difference = paired_difference([1.0, 2.0, 3.0])
    assert difference.mean == 2
    # 4.3027, from tables of Student's t with 2 degrees of freedom, times 1 / sqrt(3)
    assert difference.high - difference.mean == pytest.approx(4.30265 / np.sqrt(3), rel=1e-5)
    assert difference.low == pytest.approx(2 - 4.30265 / np.sqrt(3), rel=1e-5)


def test_the_bootstrap_would_be_wrong_in_a_quarter_of_the_cases() -> None:
    noise = np.random.default_rng(0).standard_normal((400, 3))
    decided = [low > 0 or high < 0 for low, high in (paired_difference(r).bootstrap for r in noise)]
    assert np.mean(decided) == pytest.approx(0.25, abs=0.08)


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


def test_a_planted_disadvantage_contradicts(results) -> None:
    found = planted(results, advantage=-1.0, noise=0.1)
    assert found["attention-16", "none"] == "contradicted"


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
