"""What corners tell of a flight: nothing is left out, nothing too much is let in, and each as likely as it is."""

import itertools

import numpy as np
import pytest

from vidlib.flights import _axis, corner_chances, expected_frames, flights
from vidlib.moving_mnist import FREE_RANGE, SPEED, MovingMNIST, step


def flown(count: int, frames: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random flights by the rule: starts and velocities ``(count, 2)``, corners ``(count, frames, 2)``."""
    random = np.random.default_rng(seed)
    start, angle = random.random((count, 2)), 2 * np.pi * random.random(count)
    velocity = SPEED * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    return start, velocity, corners_of(start, velocity, frames)


def corners_of(start: np.ndarray, velocity: np.ndarray, frames: int) -> np.ndarray:
    path = []
    for _ in range(frames):
        start, velocity, _ = step(start, velocity)
        path.append((FREE_RANGE * start).astype(int))
    return np.stack(path, axis=-2)


@pytest.mark.parametrize("frames", [1, 2, 10, 37])
def test_every_flight_on_the_grid_leaves_the_corners_that_were_seen(frames):
    for corners in flown(60, frames)[2]:
        found = flights(corners, angles=8, starts=4)
        assert found.weight.sum() == pytest.approx(1) and (found.weight > 0).all()
        np.testing.assert_allclose(np.hypot(*found.velocity.T), SPEED, rtol=1e-12)
        velocity = np.broadcast_to(found.velocity[:, None], found.start.shape)
        again = corners_of(found.start, velocity, frames)
        assert (again == corners).all()


@pytest.mark.parametrize(("frames", "count"), [(1, 200), (3, 200), (10, 400), (37, 40)])
def test_the_true_flight_is_never_left_out(frames, count):
    for start, velocity, corners in zip(*flown(count, frames, seed=1), strict=True):
        for axis in (0, 1):
            found, speed = _axis(corners[:, axis]), abs(velocity[axis])
            which = np.flatnonzero(
                (found.sign == np.sign(velocity[axis])) & (found.slow <= speed + 1e-12) & (speed <= found.fast + 1e-12)
            )
            near, far = found.starts(which, np.full((len(which), 1), speed))
            distance = 1 - start[axis] if velocity[axis] > 0 else start[axis]
            assert ((near <= distance + 1e-12) & (distance <= far + 1e-12)).any()


@pytest.mark.parametrize(
    ("start", "angle"),
    [((0.5, 0.5), 0.3), ((0.95, 0.4), 0.2), ((0.03, 0.98), 2.5), ((0.7, 0.02), 4.9)],
    ids=["free", "hits one wall", "starts in a corner", "leaves a wall"],
)
def test_chances_are_those_of_flights_drawn_until_they_agree(start, angle):
    """Rejection sampling knows no polygons: millions of flights, of which those stay that leave the same corners."""
    velocity = SPEED * np.array([np.cos(angle), np.sin(angle)])
    seen, last = 2, 6
    corners = corners_of(np.array(start), velocity, seen)
    random = np.random.default_rng(0)
    # Starts no farther than one step from the pixel of the first corner: all others are refused anyway.
    low = np.maximum(corners[0] / FREE_RANGE - SPEED, 0)
    high = np.minimum((corners[0] + 1) / FREE_RANGE + SPEED, 1)
    starts = low + (high - low) * random.random((3_000_000, 2))
    angles = 2 * np.pi * random.random(len(starts))
    velocities = SPEED * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    for frame in range(last):
        starts, velocities, _ = step(starts, velocities)
        if frame < seen:
            stay = ((FREE_RANGE * starts).astype(int) == corners[frame]).all(1)
            starts, velocities = starts[stay], velocities[stay]
    assert len(starts) > 1000
    drawn = np.zeros((FREE_RANGE + 1, FREE_RANGE + 1))
    np.add.at(drawn, tuple((FREE_RANGE * starts).astype(int).T), 1 / len(starts))
    found = corner_chances(flights(corners), last - 1, last)[0]
    assert found.sum() == pytest.approx(1)
    assert np.abs(found - drawn).sum() / 2 < 0.05  # total variation
    assert not drawn[found == 0].sum() > 0.005


def test_a_chance_is_how_often_it_comes_true():
    """Over many flights the true corner is as likely as the chances themselves expect: the mean of their squares."""
    given, expected = [], []
    for corners in flown(400, 20, seed=2)[2]:
        chances = corner_chances(flights(corners[:10], 32, 8), 10, 20)
        given.append(chances[np.arange(10), *corners[10:].T])
        expected.append((chances**2).sum((1, 2)))
    given, expected = np.mean(given, axis=0), np.mean(expected, axis=0)
    np.testing.assert_allclose(given, expected, atol=0.05)
    assert np.mean(given) == pytest.approx(np.mean(expected), abs=0.015)
    assert 0.6 < given[-1] < given[0] < 0.95


def test_nothing_is_left_open_where_all_is_known():
    """What was seen of a frame has chance 1."""
    corners = flown(1, 10)[2][0]
    chances = corner_chances(flights(corners), 0, 10)
    assert chances[np.arange(10), *corners.T] == pytest.approx(np.ones(10))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_expected_frame_is_the_mean_over_all_places(count):
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (count, 28, 28)).astype(np.uint8) * (random.random((count, 28, 28)) < 0.4)
    chances = np.zeros((count, 1, 37, 37))
    places = [[(3, 4), (30, 36), (5, 4)], [(10, 20), (0, 0)], [(8, 9), (36, 2)]][:count]
    weights = [[0.2, 0.5, 0.3], [0.6, 0.4], [0.9, 0.1]][:count]
    for chance, where, weight in zip(chances, places, weights, strict=True):
        chance[0][tuple(np.transpose(where))] = weight
    mean, square = np.zeros((64, 64)), 0.0
    for choice in itertools.product(*(range(len(where)) for where in places)):
        canvas, likely = np.zeros((64, 64)), 1.0
        for digit, k in enumerate(choice):
            x, y = places[digit][k]
            canvas[y : y + 28, x : x + 28] = np.maximum(canvas[y : y + 28, x : x + 28], images[digit] / 255)
            likely *= weights[digit][k]
        mean += likely * canvas
        square += likely * (canvas**2).sum()
    found = expected_frames(images, chances)
    assert found.shape == (1, 64, 64)
    np.testing.assert_allclose(found[0], mean, atol=1e-12)
    assert square - (found**2).sum() > 0  # the variance, which is the error that is left


def test_a_finer_grid_changes_next_to_nothing_and_a_coarse_one_only_loses():
    clips = MovingMNIST(24, digits="builtin", split="test", seed=5)
    truth = clips.batch(range(24))[:, 10:, 0].numpy() / 255
    digits, positions, _ = clips.trajectories(range(24))
    error = {}
    for grid in [(1, 1), (64, 16), (160, 40)]:
        future = [
            expected_frames(
                clips.digits.images[chosen], np.stack([corner_chances(flights(p, *grid), 10, 20) for p in paths])
            )
            for chosen, paths in zip(digits, positions[:, :, :10], strict=True)
        ]
        error[grid] = ((np.stack(future) - truth) ** 2).sum((2, 3)).mean()
    assert error[64, 16] == pytest.approx(error[160, 40], rel=0.01)
    assert error[1, 1] > 1.2 * error[64, 16]


@pytest.mark.parametrize(
    ("corners", "sentence"),
    [
        ([[0.5, 1.0]], r"corners are .*expected whole numbers \(frames, 2\)"),
        ([3, 4], "expected whole numbers"),
        (np.zeros((0, 2), int), r"corners are int64 \(0, 2\)"),
        ([[3, 4], [30, 4]], "no flight leaves the corners"),
        ([[3, 4], [3, 4], [3, 4]], "by the official rule"),  # every digit moves
        ([[40, 4]], "no flight leaves"),
    ],
)
def test_says_what_no_flight_leaves(corners, sentence):
    with pytest.raises(ValueError, match=sentence):
        flights(corners)


def test_refuses_an_empty_grid():
    with pytest.raises(ValueError, match="starts is 0"):
        flights([[3, 4]], starts=0)
