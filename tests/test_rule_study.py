"""The study of other rules flies the same draws, by the rule it names."""

import numpy as np
import pytest
import torch

from studies.rules import RULES, OtherRule, mirror, table
from vidlib.baselines import AllBlack, IdealObserver
from vidlib.moving_mnist import MovingMNIST


def clips(rule, length=40):
    return OtherRule(rule, length, digits="builtin", split="test", seed=2)


def test_the_official_rule_makes_the_official_clips_to_the_bit():
    official = MovingMNIST(40, digits="builtin", split="test", seed=2)
    indices = [7, 3, 4, 39]
    assert torch.equal(clips("official").batch(indices), official.batch(indices))
    for found, expected in zip(clips("official").trajectories(indices), official.trajectories(indices), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_each_other_rule_differs_as_it_says():
    official = clips("official").trajectories(range(40)).positions
    bounced = clips("official").trajectories(range(40)).bounced
    late = clips("no first step").trajectories(range(40)).positions
    np.testing.assert_array_equal(late[:, :, 1:], official[:, :, :-1])
    rounded = clips("rounding").trajectories(range(40)).positions - official
    assert set(np.unique(rounded)) == {0, 1} and rounded.mean() == pytest.approx(0.5, abs=0.05)
    mirrored = clips("mirror").trajectories(range(40)).positions
    same = (mirrored == official).all(-1)
    first = np.where(bounced.any(-1), bounced.argmax(-1), 20)
    assert all(same[i, d, : first[i, d]].all() for i in range(40) for d in range(2))  # until a wall is met
    assert not same.all() and (mirrored >= 0).all() and (mirrored <= 36).all()


def test_a_mirror_keeps_the_whole_step():
    position, velocity, hit = mirror(np.array([0.95, 0.02]), np.array([0.09, -0.05]))
    np.testing.assert_allclose(position, [0.96, 0.03])
    np.testing.assert_allclose(velocity, [-0.09, 0.05])
    assert hit.all()


def test_sets_of_two_rules_are_told_apart_and_the_observer_takes_none_of_them():
    assert len({clips(rule).fingerprint() for rule in RULES}) == len(RULES)
    assert len({clips(rule).describe() for rule in RULES}) == len(RULES)
    with pytest.raises(ValueError, match="clips is .*OtherRule"):
        IdealObserver(clips("mirror"))
    with pytest.raises(ValueError, match="rule is 'mirrors', did you mean 'mirror'"):
        clips("mirrors")


def test_the_table_is_of_the_clips_it_says():
    lines = table(AllBlack(), 5, "builtin").splitlines()
    assert [line.split(":")[0].strip("| ") for line in lines[2:]] == list(RULES)
    truth = clips("mirror", 5).batch(range(5)).double() / 255
    official = clips("official", 5).batch(range(5)).double() / 255
    cells = [cell.strip() for cell in lines[4].split("|")[1:-1]]
    assert cells[1] == f"{(truth - official).square().sum((2, 3, 4)).mean():.1f}"
    assert cells[2] == f"{truth[:, 10:].square().sum((2, 3, 4)).mean():.1f}"
