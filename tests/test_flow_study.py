"""The study of moving hidden states: its table, and that the notebook shows what stands in its file."""

from __future__ import annotations

import csv

import badges
from studies import flow
from vidlib.exercises.comparison_lessons import FLOW


def stored():
    with (badges.ROOT / "studies" / "flow.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_the_notebook_shows_the_figures_of_the_study():
    found: dict = {}
    for row in stored():
        found.setdefault(row["model"], {}).setdefault(int(row["clips"]), []).append(float(row["validation_mse"]))
    assert {name: {clips: tuple(errors) for clips, errors in of.items()} for name, of in found.items()} == FLOW
    page = (badges.ROOT / "studies" / "flow.md").read_text(encoding="utf-8")
    assert flow.table(stored()) in page and f"over {len(next(iter(FLOW['convlstm'].values())))} seeds" in page


def test_a_run_is_a_row_for_each_epoch_and_both_flows_have_the_same_weights():
    options = {"epochs": 2, "clips_per_epoch": 4, "validation_clips": 2, "batch_size": 4}
    rows = [flow.run(name, 0, "builtin", **options) for name in flow.MODELS]
    assert all([row["clips"] for row in own] == [4, 8] for own in rows)
    nine, none, _ = (own[0]["parameters"] for own in rows)
    assert nine == none
    table = flow.table([row for own in rows for row in own])
    assert table.splitlines()[0] == "| model | parameters | 4 clips | 8 clips | seconds per clip |"
    assert len(table.splitlines()) == 2 + len(flow.MODELS)
