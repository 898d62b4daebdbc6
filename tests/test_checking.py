"""How answers are judged, on small exercises of its own: kinds of answers, slips, demands, questions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vidlib.exercises import lessons
from vidlib.exercises.checking import Exercise, Slip, Unfinished, Wrong, call, judge, shown_call
from vidlib.exercises.demands import INPUTS_LEFT_ALONE, NO_LOOP, without
from vidlib.exercises.differences import first_difference
from vidlib.exercises.questions import Question, compared_text, fault_of_guess
from vidlib.exercises.slips import recognise


def ask(reference, **options) -> Exercise:
    return Exercise("ask", "Answer.", reference, ("a.", "b."), **options)


def said(exercise: Exercise, answer) -> str:
    return str(judge(exercise, answer))


# Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("right", "answer", "sentence"),
    [
        (20, 20, "correct"),
        (20, 10, "your answer is 10: too small"),
        (20, 30, "your answer is 30: too large"),
        (20, 20.0, "your answer has type float, expected int"),
        (20, ..., "not yet"),
        (True, False, "your answer is False, and that is not it"),
        ((1, 2), (1, 3), "your answer[1] is 3: too large"),
        ([1, 2], [1], "your answer is 1 values, expected 2 values"),
        ("Muon", " muon ", "correct"),
        ("muon", "adam", "your answer, 'adam', is not it"),
        ("muon", 3, "your answer is 3, expected text"),
        ({"b", "d"}, ["d", "b"], "correct"),
        ({"b", "d"}, {"b"}, "your answer has 1 too few"),
        ({"b", "d"}, {"a", "c", "d"}, "your answer has 2 that do not belong there and 1 too few"),
        ({"b", "d"}, "b", "your answer is 'b', expected a set"),
        ({"a": 1}, {"a": 2}, "your answer['a'] is 2: too large"),
        ({"a": 1}, {"b": 1}, "your answer has the keys ['b'], expected the keys ['a']"),
        (lambda: 3, 2, "your answer is 2: too small"),
    ],
)
def test_a_value_is_judged_and_not_given_away(right, answer, sentence):
    assert said(ask(right), answer) == f"ask: {sentence}"


def test_a_slip_of_a_value_is_named():
    exercise = ask(20, slips=(Slip(10, "these are the past frames alone"),))
    assert said(exercise, 10) == "ask: your answer is 10: too small: these are the past frames alone"
    assert said(exercise, 11) == "ask: your answer is 11: too small"


def test_an_open_answer_is_judged_by_the_exercise():
    def judged(answer):
        if answer == "raise":
            raise Wrong("it is loud")
        if callable(answer):
            return None if call(answer, 2) == 4 else "it does not double 2"
        return None if answer % 2 == 0 else f"{answer} is odd"

    exercise = ask(lambda: 2, judge=judged)
    assert said(exercise, 4) == said(exercise, lambda x: 2 * x) == "ask: correct"
    assert said(exercise, 3) == "ask: 3 is odd"
    assert said(exercise, "raise") == "ask: it is loud"
    assert said(exercise, lambda x: ...) == "ask: not yet"
    assert said(exercise, lambda x: 1 / 0) == "ask: your function raised ZeroDivisionError: division by zero"
    assert said(exercise, []).startswith("ask: your answer could not be compared: TypeError")


def test_what_a_function_gives():
    assert call(lambda x: x + 1, 2) == 3
    with pytest.raises(Unfinished):
        call(lambda: (1, ...))
    with pytest.raises(Wrong, match=r"^f\(\) raised KeyError: 'a'$"):
        call(lambda: {}["a"], what="f()")


def test_labels_stand_behind_the_input_that_fails():
    plain = ask(abs, inputs=lambda: [(1,), (-2,)])
    assert said(plain, lambda x: x) == "ask(-2) is -2, expected 2: the sign is turned"
    labelled = ask(abs, inputs=lambda: {"above zero": (1,), "below zero": (-2,)})
    assert said(labelled, lambda x: 2 + x - x) == "ask(1) is 2, expected 1 (above zero): one too many"
    assert said(labelled, lambda x: 5 * x).startswith("ask(1) is 5, expected 1 (above zero): 5 times too large")


def test_a_slip_is_recognised_even_where_it_raises_on_an_input():
    exercise = ask(
        lambda x: max(x, 0), inputs=lambda: [(2,), (-1,), (0,)], slips=(Slip(lambda x: x // x, "a quotient"),)
    )
    assert said(exercise, lambda x: x // x) == "ask(2) is 1, expected 2: a quotient"
    assert said(exercise, lambda x: 3 - x) == "ask(2) is 1, expected 2: one too few"


def test_a_long_call_stays_short():
    arguments = (
        torch.zeros(2, 3),
        np.zeros((1, 2)),
        list(range(99)),
        torch.nn.Identity(),
        len,
        "word",
        torch.tensor(0.1),
    )
    assert (
        shown_call("f", arguments) == "f(tensor (2, 3), array [[0.0, 0.0]], a list, Identity, len, 'word', tensor 0.1)"
    )
    assert shown_call("f", (1, 1, 1, 2, 2)) == "f(3 × 1, 2, 2)"


# Slips ------------------------------------------------------------------------------------------------------------

X = np.arange(1, 25.0).reshape(2, 3, 4) ** 1.5  # no two numbers alike


@pytest.mark.parametrize(
    ("found", "expected", "words"),
    [
        ((2, 1), (1, 2), "the right results in another order"),
        ((X, 2 * X, 3 * X), (3 * X, X, 2 * X), "the right results in another order"),
        (3.0, 3, "the right number as a float"),
        (3, 3.0, "the right number in another type"),
        (3, 4, "one too few"),
        (np.array([2, 3]), np.array([1, 2]), "one too many"),
        (-X, X, "the sign is turned"),
        (X / 24, X, "24 times too small: a mean where a sum belongs?"),
        (X * 3, X, "3 times too large: a sum where a mean belongs?"),
        (X * 7, X, "7 times too large"),
        (X * np.nan, X, "NaN comes from"),
        (X.astype(np.float32), X, "type that you compute in is too short"),
        (X.clip(0, 1), X, "it is clipped to [0, 1]"),
        (X - 5, (X - 5).clip(0, 1), "right but for what lies outside of [0, 1]"),
        (X, X + 5, "this is argument 1, unchanged"),
        (X[::-1] + 1, X + 1, "axis 0 runs backwards"),
        (np.roll(X, 1, 2) + 1, X + 1, "shifted by one along axis 2"),
        (X.transpose(0, 2, 1), X, "axes 1 and 2 are in another order"),
        (X[0, :, :3].T, X[0, :, :3], "axes 0 and 1 are in another order"),
        (X.reshape(6, 4), X, "another shape: (2, 3, 4) is asked"),
        (np.random.default_rng(0).permutation(X.ravel()).reshape(X.shape), X, "the right numbers in another order"),
        (X, X.mean((1, 2)), "not yet averaged over axes 1, 2"),
        (X, X.sum(0), "not yet summed over axis 0"),
    ],
)
def test_a_slip_that_any_exercise_may_meet(found, expected, words):
    assert words in recognise(found, expected, (X,), 0.0)


@pytest.mark.parametrize(
    ("found", "expected"),
    [(X + 0.1 * X**2, X), (3, 7), (0.0, 1.0), ("a", "b"), ({1}, {2}), (X[0], X), ([1, 2], [1, 3, 4]), (object(), 1.0)],
)
def test_what_is_no_known_slip_is_none(found, expected):
    assert recognise(found, expected, (X + 100,), 0.0) == ""


def test_no_slip_is_seen_in_what_is_right():
    assert recognise((X, 3), (X, 3), (X,), 0.0) == ""
    assert first_difference((X, 3), (X, 3)) is None


# Demands ----------------------------------------------------------------------------------------------------------

DOUBLE = ask(lambda x: 2 * x, inputs=lambda: [(np.arange(3.0),)], demands=(INPUTS_LEFT_ALONE, NO_LOOP, without("add")))


def in_place(values):
    values *= 2
    return values


def beside(values):
    return np.array([2 * value for value in values])


def in_a_while(values):
    result, i = np.zeros(len(values)), 0
    while i < len(values):
        result[i] = 2 * values[i]
        i += 1
    return result


def tries(values):
    try:
        with np.errstate(all="raise"):
            return 2 * values
    except FloatingPointError:
        values = values + 0
    return 2 * values


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (in_place, "it writes into `values`: leave the inputs as they are"),
        (beside, "is a Python loop: write it without one"),
        (in_a_while, "is a Python loop: write it without one"),
        (lambda x: beside(x), "is a Python loop: write it without one"),
        (lambda x: np.array(list(map(float, 2 * x))), "map is a Python loop inside"),
        (lambda x: np.vectorize(float)(2 * x), "vectorize is a Python loop inside"),
        (lambda x: np.add(x, x), "it calls add: do that part yourself"),
    ],
)
def test_a_demand_is_enforced(answer, words):
    found = judge(DOUBLE, answer)
    assert found.state == "wrong" and found.sentence.startswith("the results are right, but "), found
    assert words in found.sentence


@pytest.mark.parametrize("answer", [lambda x: x + x, tries, np.arange(3.0).__add__, torch.nn.Identity()])
def test_what_keeps_the_demands_or_has_no_code_to_look_at(answer):
    assert "Python loop" not in said(DOUBLE, answer) and "writes into" not in said(DOUBLE, answer)


def test_writing_into_the_input_is_named_where_it_made_the_result_wrong():
    def drifts(values):
        values += 1
        return 3 * values

    assert said(DOUBLE, drifts).endswith("expected 0: it writes into `values`: leave the inputs as they are")


def test_a_loop_is_seen_without_source():
    space = {"np": np}
    exec("def typed(x):\n    return np.array([2 * v for v in x])", space)
    assert "line 2 is a Python loop" in said(DOUBLE, space["typed"])


# Questions --------------------------------------------------------------------------------------------------------

NUMBER = Question("speed", "How fast?", unit="pixels", answer="As fast as it flies.")
CHOICE = Question("which", "Which one?", choices=("copy", "black", "mean"))


@pytest.mark.parametrize(
    ("guess", "measured", "text"),
    [
        (30, 50.8, "you said 30 pixels, it is 50.8 pixels: 1.7 times too low"),
        (100, torch.tensor(50.0), "you said 100 pixels, it is 50 pixels: 2 times too high"),
        (50, 51, "you said 50 pixels, it is 51 pixels: close, within 5%"),
        (51, np.int64(51), "you said 51 pixels, it is 51 pixels: right"),
        (0, 0.3, "you said 0 pixels, it is 0.3 pixels: 0.3 too low"),
        (-1, 2, "you said -1 pixels, it is 2 pixels: 3 too low"),
        (-4, -2, "you said -4 pixels, it is -2 pixels: too low"),
        (1, 12345.6, "you said 1 pixels, it is 12,346 pixels: too low"),
        (1, float("nan"), "you said 1 pixels, it is nan pixels"),
        ("fast", 3, "you said fast, it is 3 pixels"),
    ],
)
def test_a_guess_beside_a_number(guess, measured, text):
    assert compared_text(NUMBER, guess, measured) == text


@pytest.mark.parametrize(
    ("guess", "measured", "text"),
    [
        ("copy", "copy", "you said copy, it is copy: right"),
        ("copy", "black", "you said copy, it is black"),
        (["copy", "mean", "black"], ["copy", "black", "mean"], ": 1 of 3 in their place"),
        (["copy"], ["copy", "black"], "you said copy, it is copy, black"),
        (True, False, "you said True, it is False: the other way round"),
    ],
)
def test_a_guess_beside_a_choice(guess, measured, text):
    assert text in compared_text(CHOICE, guess, measured)


@pytest.mark.parametrize(
    ("guess", "judged"),
    [("Mean", ": right; it is"), ("copy", ": right; it is"), ("black", ", it is"), (["copy"], ", it is")],
)
def test_a_guess_that_is_level_with_what_was_measured_is_right(guess, judged):
    text = compared_text(CHOICE, guess, "copy", ["mean"])
    assert judged in text and text.endswith("it is copy; level with it on these clips: mean")


def test_a_guess_is_looked_at():
    assert fault_of_guess(CHOICE, "blck") == "your guess is 'blck', did you mean 'black'?"
    assert fault_of_guess(CHOICE, ["copy", 3]).startswith("your guess is 3, expected one of ")
    assert fault_of_guess(NUMBER, {}) == "your guess is {}, expected a number or a few words"
    assert fault_of_guess(NUMBER, float("inf")) == "your guess is inf, expected a number or a few words"
    assert fault_of_guess(CHOICE, "mean") is fault_of_guess(NUMBER, "about 3") is None


@pytest.fixture
def speed(monkeypatch):
    monkeypatch.setattr(lessons, "_guesses", {})
    for question in (NUMBER, CHOICE):
        monkeypatch.setitem(lessons.QUESTIONS, question.name, question)


def test_a_question_from_guess_to_answer(speed, capsys):
    steps = (
        (lambda: lessons.guess("speed", ...), "speed: no guess yet\n"),
        (lambda: lessons.guess("which"), "which: no guess yet (one of copy, black, mean)\n"),
        (lambda: lessons.compare("speed", 3.61), "speed: it is 3.61 pixels\n"),
        (lambda: lessons.reveal("speed"), "speed: As fast as it flies.\n"),
        (lambda: lessons.guess("speed", 2), "speed: your guess is kept\n"),
        (lambda: lessons.compare("speed", 3.61), "speed: you said 2 pixels, it is 3.61 pixels: 1.8 times too low\n"),
        (lambda: lessons.reveal("speed"), "speed: you said 2\nspeed: As fast as it flies.\n"),
        (lambda: lessons.guess("speed", {}), "speed: your guess is {}, expected a number or a few words\n"),
        (lambda: lessons.compare("speed", 3.61), "speed: it is 3.61 pixels\n"),
        (lambda: lessons.guess(name="spead", value=3), "There is no question 'spead', did you mean 'speed'?\n"),
    )
    for step, text in steps:
        step()
        assert capsys.readouterr().out == text


def test_a_question_never_stops_the_notebook(speed, capsys):
    lessons.guess("speed", 2)
    for measured in (None, ..., {}, object(), torch.zeros(2, 2), [1, 2], "text"):
        lessons.compare("speed", measured)
        assert capsys.readouterr().out.splitlines()[-1].startswith("speed: ")
