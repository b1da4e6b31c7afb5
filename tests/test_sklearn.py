"""`SearchCV` is an estimator among scikit-learn's, and a study: what it evaluates, tells, resumes and passes on."""

from __future__ import annotations

import pickle
from typing import Any

import joblib
import numpy as np
import pytest
import scipy.stats
import sklearn
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.datasets import load_iris, make_classification
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, KFold, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.svm import SVC
from sklearn.utils._test_common.instance_generator import PER_ESTIMATOR_XFAIL_CHECKS
from sklearn.utils.estimator_checks import parametrize_with_checks

import jaxhp
from jaxhp import Categorical, Float, Int, Space, Status
from jaxhp.errors import SpaceError, StudyError
from jaxhp.interop.sklearn import SearchCV
from jaxhp.interop.sklearn._space import searched

X, Y = load_iris(return_X_y=True)
RATE = {"C": Float(0.01, 100.0, log=True)}


def search(estimator: Any = None, space: Any = RATE, **more: Any) -> SearchCV:
    return SearchCV(estimator or SVC(), space, **({"sampler": "sobol", "trials": 4, "cv": 3} | more))


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast:RuntimeWarning")  # in a check itself
@parametrize_with_checks(
    [
        SearchCV(LogisticRegression(), RATE, sampler="sobol", trials=2, cv=2, error_score="raise"),
        SearchCV(Ridge(), {"alpha": [0.1, 1.0]}, sampler="sobol", trials=2, cv=2, error_score="raise"),
    ],
    expected_failed_checks=lambda estimator: PER_ESTIMATOR_XFAIL_CHECKS[RandomizedSearchCV],
)
def test_it_keeps_scikit_learns_own_laws(estimator: Any, check: Any) -> None:
    check(estimator)


def test_it_finds_what_cross_validation_says() -> None:
    found = search(SVC(), {"C": Float(0.01, 100.0, log=True), "gamma": Float(1e-4, 1.0, log=True)}, trials=12).fit(X, Y)
    means = [cross_val_score(SVC(**params), X, Y, cv=3).mean() for params in found.cv_results_["params"]]
    np.testing.assert_allclose(found.cv_results_["mean_test_score"], means)
    assert found.best_index_ == int(np.argmax(means)) and found.best_score_ == max(means) == found.study_.best.value
    assert found.best_estimator_.get_params()["C"] == found.best_params_["C"] == found.study_.best.params["C"]
    np.testing.assert_array_equal(found.predict(X), SVC(**found.best_params_).fit(X, Y).predict(X))


def test_its_results_have_the_columns_of_a_randomized_search() -> None:
    ours = search(return_train_score=True).fit(X, Y).cv_results_
    theirs = (
        RandomizedSearchCV(SVC(), {"C": scipy.stats.loguniform(0.01, 100)}, n_iter=4, cv=3, return_train_score=True).fit(X, Y).cv_results_
    )
    assert list(ours) == list(theirs)
    assert {key: np.shape(column) for key, column in ours.items()} == {key: np.shape(column) for key, column in theirs.items()}


@pytest.mark.parametrize("sampler", ["bayes", jaxhp.tpe(), None], ids=["name", "sampler", "default"])
def test_it_suggests_what_the_study_would(sampler: Any) -> None:
    found = search(sampler=sampler, trials=9, seed=3).fit(X, Y)
    chosen = jaxhp.bayes() if sampler == "bayes" else sampler
    study = jaxhp.Study(Space(RATE), sampler=chosen, metric="score", direction="maximize", seed=3)
    study.optimize(lambda trial: float(cross_val_score(SVC().set_params(**trial.params), X, Y, cv=3).mean()), trials=9)
    assert [t.params for t in found.study_.finished] == [t.params for t in study.finished]


def test_a_pipeline_has_conditional_parameters() -> None:
    space = Space(
        {
            "svc__kernel": Categorical(["rbf", "poly"]),
            "svc__degree": Int(2, 4, when={"svc__kernel": "poly"}),
            "svc__C": Float(0.1, 10.0, log=True),
        }
    )
    found = search(make_pipeline(StandardScaler(), SVC()), space, trials=8).fit(X, Y)
    for params in found.cv_results_["params"]:
        assert ("svc__degree" in params) == (params["svc__kernel"] == "poly")
    assert np.ma.count_masked(found.cv_results_["param_svc__degree"]) > 0


def test_several_metrics_are_told_and_one_is_maximised() -> None:
    found = search(scoring=["accuracy", "f1_macro"], refit="f1_macro").fit(X, Y)
    assert found.study_.outcomes[0].name == "f1_macro" and found.multimetric_
    assert found.best_index_ == int(np.argmax(found.cv_results_["mean_test_f1_macro"]))
    told = [t.values["accuracy"] for t in found.study_.finished]
    np.testing.assert_array_equal(told, found.cv_results_["mean_test_accuracy"])
    assert search(scoring=["accuracy", "f1_macro"], refit=False).fit(X, Y).study_.outcomes[0].name == "accuracy"


def test_refit_may_be_a_function_or_left_out() -> None:
    last = search(refit=lambda results: len(results["params"]) - 1).fit(X, Y)
    assert last.best_index_ == 3 and last.best_params_ == last.cv_results_["params"][3]
    assert not hasattr(search(refit=False).fit(X, Y), "best_estimator_")


def both(estimator: Any, x: Any, y: Any) -> dict[str, float]:
    return {"right": estimator.score(x, y), "wrong": 1.0 - estimator.score(x, y)}


def test_a_scoring_function_may_return_several_metrics() -> None:
    found = search(scoring=both, refit="right").fit(X, Y)
    assert found.study_.outcomes[0].name == "right" and {"right", "wrong"} <= found.study_.best.values.keys()
    with pytest.raises(StudyError, match="maximises one of right, wrong, which the scoring function returns; name it with refit="):
        search(scoring=both, refit=False).fit(X, Y)


def test_groups_and_sample_weights_arrive() -> None:
    groups = np.arange(len(X)) % 5
    found = search(cv=GroupKFold(5)).fit(X, Y, groups=groups)
    assert found.n_splits_ == 5
    weights = (Y != 2).astype(float)
    assert set(search(SVC()).fit(X, Y, sample_weight=weights).predict(X)) == {0, 1}
    with sklearn.config_context(enable_metadata_routing=True):
        estimator = SVC().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        assert set(search(estimator, cv=GroupKFold(5)).fit(X, Y, sample_weight=weights, groups=groups).predict(X)) == {0, 1}


def test_all_candidates_are_compared_on_the_same_splits() -> None:
    found = search(space={"C": [1.0, 1.0 + 1e-12, 1.0 + 2e-12]}, sampler="grid_search", trials=3, cv=KFold(3, shuffle=True)).fit(X, Y)
    assert len(set(found.cv_results_["mean_test_score"])) == 1


class Fragile(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Fails above a half; in the second case by its score."""

    fits = 0

    def __init__(self, x: float = 0.0) -> None:
        self.x = x

    def fit(self, X: Any, y: Any) -> Fragile:
        Fragile.fits += 1
        if self.x > 0.5:
            raise ValueError("too much")
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.zeros(len(X), int)


def test_candidates_that_fail_after_another_succeeded_have_their_rows() -> None:
    space = Space({"x": Float(0.0, 1.0, default=0.25)})
    with pytest.warns(UserWarning, match="test scores are non-finite"):
        found = search(Fragile(), space, sampler=jaxhp.bayes(), trials=4).fit(X, Y)
    assert np.isnan(found.cv_results_["mean_test_score"]).tolist() == [t.params["x"] > 0.5 for t in found.study_.finished]
    assert found.study_.finished[0].status == Status.COMPLETE and found.study_._fold.failed


def test_failed_fits_are_failed_trials() -> None:
    with pytest.warns(UserWarning, match="test scores are non-finite"):
        found = search(Fragile(), {"x": Float(0.0, 1.0)}, trials=8).fit(X, Y)
    failed = [t.params["x"] > 0.5 for t in found.study_.finished]
    assert [t.status == Status.FAILED for t in found.study_.finished] == failed == np.isnan(found.cv_results_["mean_test_score"]).tolist()
    assert 0 < sum(failed) < 8 and found.best_params_["x"] <= 0.5
    with pytest.raises(ValueError, match="too much"):
        search(Fragile(), {"x": Float(0.0, 1.0)}, trials=8, error_score="raise").fit(X, Y)
    with pytest.raises(ValueError, match="All the 3 fits failed"):
        search(Fragile(), {"x": Float(0.6, 1.0)}, trials=3).fit(X, Y)


def test_a_search_goes_on_where_it_was_and_has_all_results(tmp_path: Any) -> None:
    storage = f"sqlite:///{tmp_path}/search.db"
    options: dict[str, Any] = {
        "estimator": Fragile(),
        "space": {"x": Float(0.0, 0.5)},
        "scoring": ["accuracy", "f1_macro"],
        "refit": "accuracy",
    }
    straight = search(**options, trials=7).fit(X, Y)
    search(**options, trials=3, storage=storage).fit(X, Y)
    before = Fragile.fits
    resumed = search(**options, trials=7, storage=storage).fit(X, Y)
    assert Fragile.fits - before == 4 * 3 + 1
    same = [key for key in straight.cv_results_ if "time" not in key]
    assert {key: np.array(resumed.cv_results_[key]).tolist() for key in same} == {
        key: np.array(straight.cv_results_[key]).tolist() for key in same
    }
    before = Fragile.fits
    done = search(**options, trials=7, storage=storage).fit(X, Y)
    assert Fragile.fits - before == 3 + 1 and len(done.cv_results_["params"]) == 7 and len(done.study_.finished) == 7


def test_an_interrupted_search_gives_its_candidates_back(tmp_path: Any) -> None:
    storage = f"sqlite:///{tmp_path}/search.db"
    with pytest.raises(ValueError, match="too much"):
        search(Fragile(), {"x": Float(0.4, 0.9)}, trials=5, storage=storage, error_score="raise").fit(X, Y)
    study = jaxhp.Study.open(storage)
    assert len(study.running) == 1 and study.ask().number == study.running[0].number


def test_jobs_are_asked_for_together_and_a_finite_space_ends() -> None:
    with joblib.parallel_config("threading"):
        found = search(n_jobs=2, trials=4).fit(X, Y)
    seen = [record["seen"] for record in found.study_._log.read("study") if record["kind"] == "ask"]
    assert seen[0] == seen[1] and seen[2] == seen[3] and seen[0] < seen[2]
    assert len(search(space={"C": [0.1, 1.0]}, sampler="grid_search", trials=50).fit(X, Y).cv_results_["params"]) == 2


def test_a_fitted_search_travels_with_its_study() -> None:
    found = search().fit(X, Y)
    back = pickle.loads(pickle.dumps(found))
    assert back.study_.best.params == found.study_.best.params and back.study_.ask().number == 4
    np.testing.assert_array_equal(back.predict(X), found.predict(X))


# what may vary


def test_lists_and_distributions_become_parameters() -> None:
    norm, scalers = scipy.stats.norm(2.0, 3.0), [StandardScaler(), MinMaxScaler()]
    given = {
        "a": scipy.stats.uniform(1.0, 2.0), "b": scipy.stats.loguniform(0.1, 10), "c": scipy.stats.randint(3, 9), "d": norm,
        "e": [1, 2, 5], "f": [5, 1], "g": ["x", None], "h": scalers, "i": [7], "j": np.array([0.5, 1.5]), "k": [(1, 2), (3,)],
        "l": scipy.stats.poisson(4),
    }  # fmt: skip
    found = searched(given)
    shown = {name: repr(p) for name, p in found.space.parameters.items()}
    assert shown["a"] == "Float(1.0, 3.0)" and shown["b"] == "Float(0.1, 10.0, log=True)" and shown["c"] == "Int(3, 8)"
    assert shown["e"] == "Ordinal([1, 2, 5])" and shown["f"] == "Categorical([5, 1])" and shown["g"] == "Categorical(['x', None])"
    assert shown["j"] == "Ordinal([0.5, 1.5])" and "i" not in shown
    for u in (0.0, 0.5, 1.0):
        params = found.candidate(found.space.params(found.space.snap(np.full((1, found.space.d), u))[0]))
        assert (
            params["d"] == norm.ppf(0.001 + 0.998 * u) and params["i"] == 7 and params["l"] == scipy.stats.poisson(4).ppf(0.001 + 0.998 * u)
        )
        assert params["h"] is scalers[int(u > 0.5) if u != 0.5 else scalers.index(params["h"])] and params["k"] in ((1, 2), (3,))


def test_whole_steps_of_a_pipeline_may_vary() -> None:
    pipeline = make_pipeline(StandardScaler(), SVC())
    found = search(pipeline, {"standardscaler": [StandardScaler(), MinMaxScaler(), "passthrough"]}, sampler="grid_search", trials=3).fit(
        X, Y
    )
    assert [type(p["standardscaler"]).__name__ for p in found.cv_results_["params"]] == ["StandardScaler", "str", "MinMaxScaler"]


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"space": {}}, SpaceError, "expected a jaxhp.Space or a dict"),
        ({"space": {"C": 1.0}}, SpaceError, "'C' is 1.0; expected a jaxhp parameter, a list or a scipy distribution"),
        ({"space": {"C": [1.0]}}, SpaceError, "nothing to search"),
        ({"trials": 0}, StudyError, "trials: expected a positive number"),
        ({"sampler": "best"}, StudyError, "'best' is unknown; choose one of auto, bayes"),
        ({"sampler": "freeze"}, StudyError, "'freeze' is unknown; choose one of auto, bayes"),
        ({"sampler": jaxhp.sobol}, StudyError, "is a pair of parentheses missing"),
        ({"seed": -1}, StudyError, "seed: expected"),
        ({"space": {"unknown": [1, 2]}}, ValueError, "Invalid parameter 'unknown'"),
    ],
)
def test_what_cannot_be_is_named(more: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        search(**more).fit(*make_classification(40, random_state=0))
