"""The command line: what a user meets in a terminal, a log file, a script, and when something is wrong."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

import jaxhp
from jaxhp.cli import app
from jaxhp.cli._lanes import watching
from jaxhp.cli._progress import following

SPACE = "import jaxhp\nspace = jaxhp.Space({'x': jaxhp.Float(0, 1)})"
READING = ["list", "show", "best", "explain", "forecast", "plot", "export", "log", "verify", "copy"]
COMMANDS = ["tune", "worker", "stop", "pause", "resume", *READING]

BOWL = """
    import jaxhp

    space = jaxhp.Space({"x": jaxhp.Float(-1.0, 1.0, default=0.9), "kind": jaxhp.Categorical(["a", "b"])})
    metric = "loss"
    trials = 12

    def objective(trial):
        return {"loss": trial["x"] ** 2 + (trial["kind"] == "b"), "size": trial["x"]}

    def test(params):
        with open("tested.txt", "a") as file:
            print(params, file=file)
        return {"score": 1.0 - abs(params["x"])}
"""


LANES = """
    import jax.numpy as jnp
    import numpy as np
    import jaxhp

    space = jaxhp.Space({"rate": jaxhp.Float(0.001, 2.0, log=True, default=0.01)})
    metric = "loss"
    trials = 12
    steps = 90
    lanes = 4
    scheduler = jaxhp.asha(eta=3, min_steps=10)

    def trainable():
        return jaxhp.Trainable(
            init=lambda key, hparams: jnp.zeros(()),
            step=lambda w, hparams, batch, key, t: (w - hparams["rate"] * 2 * (w - batch), {"pull": w - batch}),
            evaluate=lambda w, hparams, split, key: {"loss": (w - split) ** 2, "error": abs(w - split)},
            data={"train": np.float32(3.0), "validation": np.float32(3.1), "test": np.float32(3.2)},
        )
"""


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, name: str = "bowl.py") -> str:
    Path(name).write_text(textwrap.dedent(text))
    return name


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def tuned(*arguments: str) -> Result:
    result = run("tune", write(BOWL), "--no-report", *arguments)
    assert result.exit_code == 0, result.output
    return result


def points(database: str = "bowl.db", name: str = "bowl") -> list[tuple[int, dict[str, Any], dict[str, float]]]:
    return [(t.number, t.params, t.values) for t in jaxhp.Study.open(f"sqlite:///{database}", name).finished]


# --- tune ---------------------------------------------------------------------------------------------------------------------


def started(command: list[str]) -> subprocess.Popen[str]:
    """A child that hears Ctrl-C even where the tests run in the background, which are told to ignore it and would hand that on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)


def test_tune_searches_compares_and_reports() -> None:
    result = run("tune", write(BOWL), "--compare")
    assert result.exit_code == 0, result.output
    for text in ("12 trials", "defaults", "random search", "validation loss", "test score", "Best configuration", "Report: report.html"):
        assert text in result.output
    assert len(points()) == len(points(name="bowl-random")) == 12
    page = Path("report.html").read_text()
    assert "Comparison" in page and "best so far, random search" in page


def test_the_table_holds_told_values_and_tests_each_configuration_once() -> None:
    table = tuned("--compare").output.split("Comparison")[1].splitlines()
    best = min(points(), key=lambda p: p[2]["loss"])
    row = next(line for line in table if "tuned, 12 trials" in line)
    assert f"{best[2]['loss']:.4f}" in row and f"{1 - abs(best[1]['x']):.4f}" in row
    row = next(line for line in table if "defaults" in line)
    assert f"{0.9**2:.4f}" in row and f"{1 - 0.9:.4f}" in row
    tested = Path("tested.txt").read_text().splitlines()
    assert len(tested) == len(set(tested))


def test_the_defaults_are_a_trial_so_that_they_have_a_validation_value() -> None:
    tuned("--sampler", "random_search")
    assert points()[0][1] == {"x": 0.9, "kind": "a"}


def test_a_finished_study_is_not_run_again_and_a_larger_total_continues_it() -> None:
    tuned()
    before = points()
    assert "all 12 trials are in sqlite:///bowl.db" in tuned().output
    assert points() == before
    tuned("--trials", "20")
    extended = points()
    assert extended[:12] == before and len(extended) == 20
    Path("bowl.db").unlink()
    tuned("--trials", "20")
    assert points() == extended


def test_an_interrupted_search_continues_as_if_nothing_had_happened() -> None:
    tuned()
    whole = points()
    Path("bowl.db").unlink()
    once = BOWL + textwrap.indent(
        textwrap.dedent("""
        import os
        steady = objective

        def objective(trial):
            if trial.number == 5 and not os.path.exists("interrupted"):
                open("interrupted", "w").close()
                raise KeyboardInterrupt
            return steady(trial)
        """),
        "    ",
    )
    result = run("tune", write(once), "--no-report")
    assert result.exit_code == 130
    assert "5 trials are safe in sqlite:///bowl.db; run the same command to go on" in result.output
    assert run("tune", "bowl.py", "--no-report").exit_code == 0
    assert points() == whole


def test_ctrl_c_in_a_terminal_ends_with_130_and_loses_nothing() -> None:
    slow = BOWL.replace("return {", "import time; time.sleep(0.2); open(f'trial{trial.number}', 'w').close(); return {")
    command = [sys.executable, "-m", "jaxhp", "tune", write(slow), "--no-report", "--trials", "1000"]
    process = started(command)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not any(Path().glob("trial*")):
        time.sleep(0.1)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "trials are safe" in errors and "Traceback" not in errors
    study = jaxhp.Study.open("sqlite:///bowl.db")
    assert study.ask().number == len(study.finished)  # the released trial comes first


def test_sampler_and_seed_can_be_chosen_by_name() -> None:
    tuned("--sampler", "sobol", "--seed", "3", "--name", "other", "--storage", "elsewhere.db")
    study = jaxhp.Study.open("sqlite:///elsewhere.db", "other")
    assert (study.sampler, study.seed) == ("sobol()", 3)


def test_a_finite_space_ends_when_nothing_is_left() -> None:
    finite = """
        import jaxhp
        space = jaxhp.Space({"n": jaxhp.Int(1, 4)})
        objective = lambda trial: trial["n"]
        sampler = "grid_search"
    """
    result = run("tune", write(finite, "finite.py"), "--no-report")
    assert result.exit_code == 0, result.output
    assert "no further configurations; 4 trials tried them all" in result.output


def test_several_objectives_are_tuned_and_shown() -> None:
    several = """
        import jaxhp
        space = jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)})
        directions = {"loss": "minimize", "speed": "maximize"}
        def objective(trial):
            return {"loss": trial["x"] ** 2, "speed": trial["x"]}
    """
    assert run("tune", write(several, "several.py"), "--trials", "10").exit_code == 0
    front = json.loads(run("best", "several.db", "--json").output)
    assert len(front) == 10  # here every trial is a trade-off


def test_a_trial_that_fails_is_told_in_a_line_and_kept() -> None:
    raising = "if trial.number == 3: raise ValueError('too [red] wide')"
    failing = BOWL.replace("def objective(trial):", f"def objective(trial):\n        {raising}")
    result = run("tune", write(failing), "--no-report")
    assert result.exit_code == 0, result.output
    assert "trial 3 failed: ValueError: too [red] wide" in result.output and "bowl.py" in result.output
    assert "Traceback" not in result.output
    shown = run("show", "bowl.db", "--trial", "3").output
    assert "Traceback" in shown and "too [red] wide" in shown
    assert "ValueError: too [red] wide" in run("show", "bowl.db").output


def test_a_search_that_mostly_fails_stops_with_1() -> None:
    broken = BOWL.replace('return {"loss"', 'return {"loss": 1 / 0, "old"')
    result = run("tune", write(broken), "--no-report")
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.output and "Traceback" not in result.output


def test_a_search_without_a_complete_trial_ends_with_1() -> None:
    result = run("tune", write(BOWL.replace('return {"loss"', 'return {"loss": float("nan"), "old"')), "--trials", "4")
    assert result.exit_code == 1
    assert "none of the 4 trials completed" in result.output and Path("report.html").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("objective = print", "does not define `space`"),
        (SPACE, "does not define `objective`"),
        ("space = {'x': 1}\nobjective = print", "not a jaxhp.Space"),
        (SPACE + "\nobjective = 3", "`objective` is 3"),
        (SPACE + "\nobjective = print\ntrials = 0", "`trials` is 0"),
        (
            SPACE + "\nobjective = print\nsampler = 'magic'",
            "'magic' is unknown; choose one of",
        ),
        (SPACE + "\nobjective = print\nsampler = jaxhp.sobol", "pair of parentheses"),
        ("import jaxhp\nspace = jaxhp.Space({'x': jaxhp.Float(2, 1)})", "low must be below high"),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'"),
        ("space = = 1", "invalid syntax"),
    ],
)
def test_a_wrong_file_is_explained_with_2(text: str, message: str) -> None:
    result = run("tune", write(text, "wrong.py"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output and not Path("wrong.db").exists()


def test_another_space_under_an_old_name_is_explained() -> None:
    tuned()
    result = run("tune", write(BOWL.replace("-1.0, 1.0", "-2.0, 2.0")), "--no-report")
    assert result.exit_code == 2
    assert "another space" in result.stderr and "name" in result.stderr


# --- tune, in lanes -----------------------------------------------------------------------------------------------------------


def in_lanes(*arguments: str, text: str = LANES) -> Result:
    return run("tune", write(text, "descent.py"), "--no-report", *arguments)


def told(name: str = "descent") -> list[tuple[int, str, dict[str, Any], dict[str, float]]]:
    study = jaxhp.Study.open("sqlite:///descent.db", name)
    return [(t.number, t.status.name, t.params, t.values) for t in study.finished]


def test_a_trainable_is_tuned_in_lanes_and_tested_on_its_test_split() -> None:
    result = in_lanes("--compare")
    assert result.exit_code == 0, result.output
    for text in ("descent: compiling", "lanes, ", "steps/s", "standing: ", "12 trials", "random search", "validation loss", "test error"):
        assert text in result.output
    assert "train_pull" not in result.output.split("Comparison")[1].split("Best")[0]
    trials = told()
    assert len(trials) == 12 and {status for _, status, *_ in trials} >= {"STOPPED", "COMPLETE"}
    assert trials[0][2] == {"rate": 0.01}  # what is to be beaten comes first
    best = min((v["loss"], p["rate"]) for _, status, p, v in trials if status == "COMPLETE")
    w = 3.0 * (1 - (1 - 2 * best[1]) ** 90)
    row = next(line for line in result.output.splitlines() if "tuned, 12 trials" in line)
    assert f"{best[0]:.4f}" in row and f"{(w - 3.2) ** 2:.4f}" in row and f"{abs(w - 3.2):.4f}" in row


def test_the_random_search_beside_takes_as_many_steps_in_full_runs() -> None:
    in_lanes("--compare")
    curves = jaxhp.Study.open("sqlite:///descent.db", "descent").curves
    trained = sum(curves["step"][curves["number"] == n].max() for n in set(curves["number"].tolist()))
    beside = told("descent-random")
    assert len(beside) == round(trained / 90)
    assert {status for _, status, *_ in beside} <= {"COMPLETE", "FAILED"}


def test_lanes_and_scheduler_can_be_chosen_by_option() -> None:
    assert in_lanes("--lanes", "2", "--scheduler", "successive_halving").exit_code == 0
    study = jaxhp.Study.open("sqlite:///descent.db", "descent")
    assert study.scheduler is not None and study.scheduler.startswith("successive_halving(eta=3, min_steps=10")  # a ninth of 90
    assert "trains in 2 lanes" in in_lanes("--lanes", "4", "--trials", "20").stderr
    assert in_lanes("--lanes", "auto", "--trials", "20", "--scheduler", "none").exit_code == 0
    assert len(told()) == 20


@pytest.mark.parametrize("name", ["hyperband", "median_stopping", "pbt", "pb2"])
def test_every_scheduler_has_its_name(name: str) -> None:
    assert in_lanes("--scheduler", name).exit_code == 0
    study = jaxhp.Study.open("sqlite:///descent.db", "descent")
    assert study.scheduler is not None and study.scheduler.startswith(f"{name}(") and len(study.finished) == 12


def test_an_own_test_function_goes_before_the_test_split() -> None:
    own = LANES + "\n    test = lambda params: {'own': params['rate']}\n"
    output = in_lanes(text=own).output
    assert "test own" in output and "test loss" not in output


def test_a_trainable_may_stand_in_the_file_as_it_is_and_beside_an_objective() -> None:
    both = LANES + "\n    trainable = trainable()\n    objective = lambda trial: {'loss': trial['rate']}\n"
    assert in_lanes(text=both).exit_code == 0
    assert any("train_pull" in values for *_, values in told())
    Path("descent.db").unlink()
    assert in_lanes("--objective", "--scheduler", "none", text=both).exit_code == 0
    assert [values for *_, values in told()] == [{"loss": params["rate"]} for _, _, params, _ in told()]


def test_training_that_was_interrupted_continues_as_if_nothing_had_happened() -> None:
    assert in_lanes().exit_code == 0
    whole = told()
    Path("descent.db").unlink()
    once = LANES + textwrap.indent(
        textwrap.dedent("""
        import os
        from jaxhp.schedulers import asha

        def interrupting(scheduler):
            asked = []
            def decide(state, slots):
                asked.append(slots)
                if len(asked) == 7 and not os.path.exists("interrupted"):
                    open("interrupted", "w").close()
                    raise KeyboardInterrupt
                return scheduler.decide(state, slots)
            return scheduler._replace(decide=decide)

        scheduler = interrupting(scheduler)
        """),
        "    ",
    )
    result = in_lanes(text=once)
    assert result.exit_code == 130
    assert re.search(r"Interrupted. [1-9]\d* trials are safe in sqlite:///descent.db; run the same command to go on", result.stderr)
    result = in_lanes(text=once)
    assert result.exit_code == 0 and "going on" in result.output
    assert told() == whole
    assert "all 12 trials are in sqlite:///descent.db" in in_lanes(text=once).output


def test_ctrl_c_while_lanes_train_ends_with_130_and_loses_nothing() -> None:
    endless = LANES.replace("trials = 12", "trials = 1000000").replace("scheduler = ", "sampler = 'random_search'\n    unused = ")
    command = [sys.executable, "-m", "jaxhp", "tune", write(endless, "descent.py"), "--no-report"]
    process = started(command)
    assert process.stdout is not None
    next(line for line in process.stdout if "steps/s" in line)  # it trains
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "trials are safe" in errors and "Traceback" not in errors


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (("steps = 90", ""), (), "how many `steps`"),
        (("steps = 90", "steps = 0"), (), "`steps` is 0"),
        (("lanes = 4", "lanes = 0"), (), "lanes: expected a positive integer"),
        (("lanes = 4", "seeds = 'x'"), (), "`seeds` is 'x'"),
        (("def trainable()", "trainable = 3\n    def unused()"), (), "`trainable` is 3, not a jaxhp.Trainable"),
        (("return jaxhp.Trainable", "1 / 0; return jaxhp.Trainable"), (), "`trainable()` failed"),
        (('{"loss": (w', '{"cost": (w'), (), "the study's metric is 'loss'"),
        (("", ""), ("--workers", "2"), "it trains in --lanes"),
        (("", ""), ("--lanes", "many"), "expected a number or `auto`"),
        (("", ""), ("--scheduler", "magic"), "'magic' is unknown; choose one of none, asha"),
        (("", ""), ("--objective",), "does not define `objective`"),
        (("", ""), ("--scheduler", "magic"), "hyperband, median_stopping, pbt, pb2, or write one into the file"),
        (
            ("def trainable()", "objective = lambda trial: 1.0\n    def trainable()"),
            ("--objective", "--scheduler", "pbt"),
            "scheduler 'pbt' must know how long a run is, which an objective does not tell; use a file with a `trainable`",
        ),
    ],
)
def test_what_is_wrong_with_a_file_or_an_option_of_lanes_is_explained_with_2(
    change: tuple[str, str], arguments: tuple[str, ...], message: str
) -> None:
    result = in_lanes(*arguments, text=LANES.replace(*change))
    assert result.exit_code == 2, result.output
    assert message in result.stderr and "Traceback" not in result.output


def test_lanes_are_no_option_for_an_objective() -> None:
    result = run("tune", write(BOWL), "--lanes", "4")
    assert result.exit_code == 2 and "an objective takes --workers" in result.stderr


# --- progress -----------------------------------------------------------------------------------------------------------------


def watched(console: Console, trials: int = 100) -> None:
    study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), sampler=jaxhp.random_search(), metric="loss")
    with following(console, study, trials, "a [search]") as told:
        study.optimize(lambda t: t["x"], trials=trials, callbacks=[told])


def test_a_log_file_gets_a_line_now_and_then() -> None:
    file = io.StringIO()
    watched(Console(file=file, width=200))
    lines = file.getvalue().splitlines()
    assert 10 <= len(lines) <= 12
    assert re.fullmatch(r"a \[search\]: 100/100 trials, best loss [\d.e-]+ \(trial \d+\), .* s/trial, 0 s left", lines[-1])


def test_a_terminal_gets_a_bar_with_best_and_rate() -> None:
    file = io.StringIO()
    watched(Console(file=file, force_terminal=True, width=200))
    text = file.getvalue()
    assert "100/100" in text and "best loss" in text and "a [search]" in text


def standing(**changes: Any) -> jaxhp.Progress:
    usual: dict[str, Any] = {"segments": 3, "asked": 40, "finished": 4, "failed": 0, "busy": 7, "lanes": 8, "steps_per_second": 1234.5}
    return jaxhp.Progress(**(usual | {"standing": {100: 30, 300: 6}, "best": 0.25, "reports": {}} | changes))


def followed(console: Console, *progress: jaxhp.Progress, total: int = 40) -> None:
    study = jaxhp.Study(jaxhp.Space({"x": jaxhp.Float(0.0, 1.0)}), metric="loss")
    with watching(console, study, total, "a [study]") as told:
        for p in progress:
            told(study, p)


def test_a_log_file_shows_lanes_and_rungs_now_and_then() -> None:
    file = io.StringIO()
    followed(Console(file=file, width=300), standing(), standing(), standing(finished=40, failed=2, standing={}, best=None))
    lines = file.getvalue().splitlines()
    assert lines[1] == (
        "a [study]: 40/40 trials begun, 4 finished, 7/8 lanes, 1,234 steps/s, best loss 0.25; standing: 30 at 100, 6 at 300"
    )
    assert "Some trials diverged" in lines[2] and lines[3].endswith("2 failed; standing: nobody") and len(lines) == 4


def test_a_line_names_the_fullest_steps_only() -> None:
    file = io.StringIO()
    followed(Console(file=file, width=300), standing(standing={10 * i: i for i in range(1, 13)}))
    assert file.getvalue().splitlines()[1].endswith("8 at 80, 9 at 90, 10 at 100, 11 at 110, 12 at 120, 10 elsewhere")


def test_a_terminal_shows_lanes_and_rungs() -> None:
    file = io.StringIO()
    followed(Console(file=file, force_terminal=True, width=200), standing())
    text = file.getvalue()
    assert "40/40" in text and "7/8 lanes" in text and "30 at 100, 6 at 300" in text and "a [study]" in text


# --- reading ------------------------------------------------------------------------------------------------------------------


def test_list_names_every_study() -> None:
    tuned("--compare")
    output = run("list", "bowl.db").output
    assert "bowl-random" in output and "loss" in output and output.count(" 12 ") == 2


def test_best_prints_json_that_is_the_study_s() -> None:
    tuned("--compare")  # the random search beside it does not make the database ambiguous
    best = jaxhp.Study.open("sqlite:///bowl.db", "bowl").best
    assert json.loads(run("best", "bowl.db", "--json").output) == {"number": best.number, "values": best.values, "params": best.params}
    assert str(best.params["kind"]) in run("best", "bowl.db").output


def test_show_prints_space_and_best_trials() -> None:
    tuned()
    output = run("show", "bowl.db", "--top", "3").output
    assert "Categorical  a, b" in output and "best trials" in output


def test_explain_prints_relevance_and_verdicts() -> None:
    tuned("--trials", "25", "--compare")
    explanation = jaxhp.Study.open("sqlite:///bowl.db", "bowl").explain()
    output = run("explain", "bowl.db").output
    assert "bowl: what matters for loss (minimize)" in output
    for name, relevance, *_ in explanation.parameters:
        assert re.search(rf"^ *{name} +{relevance:.3f} ", output, flags=re.MULTILINE)
    for label, text in explanation.facts().items():
        assert f"{label} " in output and text in output
    for note in explanation.notes:
        assert f"* {note}" in output
    assert json.loads(run("explain", "bowl.db", "--study", "bowl", "--json").output) == explanation.to_json()


def test_what_cannot_be_explained_says_why_with_2() -> None:
    tuned("--trials", "2")
    result = run("explain", "bowl.db", "--json")
    assert result.exit_code == 2 and result.stdout == ""
    assert "needs 3 distinct completed trials" in result.stderr and "tell at least 1 more" in result.stderr


def test_plot_writes_a_page() -> None:
    tuned()
    assert run("plot", "bowl.db", "-o", "page.html").exit_code == 0
    assert Path("page.html").read_text().startswith("<!doctype html>")


def test_export_gives_every_trial_as_csv_and_json() -> None:
    tuned()
    told = points()
    rows = list(csv.DictReader(io.StringIO(run("export", "bowl.db", "--csv").output)))
    assert [(int(r["number"]), float(r["params.x"]), float(r["values.loss"])) for r in rows] == [(n, p["x"], v["loss"]) for n, p, v in told]
    assert run("export", "bowl.db", "--json", "-o", "trials.json").exit_code == 0
    assert [(r["number"], r["params"], r["values"]) for r in json.loads(Path("trials.json").read_text())] == told


def test_databases_are_found_or_the_way_to_one_is_told() -> None:
    for command in COMMANDS[1:]:
        more = {"export": ["--csv"], "worker": [write(BOWL)], "copy": ["other.db"]}
        result = run(command, "missing.db", *more.get(command, []))
        assert result.exit_code == 2 and "there is no database missing.db" in result.stderr
        assert not Path("missing.db").exists()
    tuned()
    tuned("--name", "second")
    result = run("best", "bowl.db")
    assert result.exit_code == 2 and "bowl, second" in result.stderr and "--study" in result.stderr
    assert run("best", "bowl.db", "--study", "second").exit_code == 0
    assert run("best", "bowl.db", "--study", "third").exit_code == 2
    assert run("export", "bowl.db", "--study", "second").exit_code == 2  # neither --csv nor --json


# --- the command itself -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"Example: jaxhp {command}" in result.output


def test_version_is_the_packages() -> None:
    assert run("--version").output == f"jaxhp {jaxhp.__version__}\n"


def test_help_loads_nothing_heavy() -> None:
    code = """
        import sys
        from typer.testing import CliRunner
        from jaxhp.cli import app
        assert CliRunner().invoke(app, ["tune", "--help"]).exit_code == 0
        print({"jax", "numba", "scipy", "sqlalchemy", "plotly", "sklearn"} & set(sys.modules))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("missing", ["typer", "rich.markup"])
def test_without_its_extra_the_command_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from jaxhp.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert 'pip install "jaxhp[cli]"' in done.stderr and "Traceback" not in done.stderr


def test_an_interrupt_before_anything_started_is_no_traceback() -> None:
    result = run("tune", write("raise KeyboardInterrupt", "early.py"))
    assert result.exit_code == 130
    assert result.stderr == "Interrupted.\n"
