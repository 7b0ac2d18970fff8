"""The history of benchmarks: readable, and without a machine's name."""

import json
import platform

from tests.benchmarks import history


def test_what_is_kept_is_read_back_with_the_kind_of_machine(tmp_path):
    file = tmp_path / "history.jsonl"
    history.keep("goals looks", {"ratio": 1.23456}, file)
    history.keep("goals looks", {"ratio": 2.0}, file)
    first, second = history.read(file)
    assert (first["figures"], second["figures"]) == ({"ratio": 1.235}, {"ratio": 2.0})
    assert first["machine"].endswith(f"{platform.system()} {platform.machine()}")
    assert "cores" in first["machine"]
    assert len(platform.node()) < 4 or platform.node() not in json.dumps(first)


def test_the_history_is_in_order_and_whole(capsys, monkeypatch):
    rows = history.read()
    assert rows
    assert [row["date"] for row in rows] == sorted(row["date"] for row in rows)
    keys = {"date", "endorender", "taichi", "machine", "load", "benchmark", "figures"}
    assert all(set(row) == keys and row["figures"] for row in rows)
    monkeypatch.setattr("sys.argv", ["history.py", rows[-1]["benchmark"]])
    history.main()
    said = capsys.readouterr().out
    assert f"{rows[-1]['benchmark']} on {rows[-1]['machine']}" in said
    assert rows[-1]["date"] in said
