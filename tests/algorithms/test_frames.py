"""Columns of frames, by type: numbers for scikit-learn's users are numbers here, and what is none is named."""

from __future__ import annotations

import datetime
import warnings
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from algorithms import estimators, registry
from algorithms.errors import PredictionError
from algorithms.kmeans.model import KMeansModel
from algorithms.loading import LoadedModel

pandas = pytest.importorskip("pandas")
polars = pytest.importorskip("polars")

FIRST = [0.0, 1.0, 8.0, 9.0]
MODEL = LoadedModel(registry.find("kmeans"), KMeansModel(np.float32([[0, 0], [9, 9]])))
DAYS = [datetime.date(2020, 1, day) for day in (1, 2, 3, 4)]
MOMENTS = [datetime.datetime(2020, 1, day) for day in (1, 2, 3, 4)]
SPANS = [datetime.timedelta(day) for day in (1, 2, 3, 4)]
TIMES = [datetime.time(hour) for hour in (1, 2, 3, 4)]


def of_pandas(values: Any, dtype: Any = None) -> Any:
    return pandas.DataFrame({"a": FIRST, "it": pandas.Series(values, dtype=dtype)})


def of_polars(values: Any, dtype: Any = None) -> Any:
    return polars.DataFrame({"a": FIRST, "it": polars.Series(values, dtype=dtype)})


NUMBERS = {
    "booleans": (of_pandas([True, False, True, True]), [1, 0, 1, 1]),
    "nullable integers": (of_pandas([1, 2, 3, 4], "Int64"), [1, 2, 3, 4]),
    "nullable booleans": (of_pandas([True, False, True, True], "boolean"), [1, 0, 1, 1]),
    "decimals": (of_pandas([Decimal("1.5"), Decimal(2), Decimal(3), Decimal(4)]), [1.5, 2, 3, 4]),
    "objects": (of_pandas([1, 2.5, True, np.float32(4)], object), [1, 2.5, 1, 4]),
    "texts of numbers": (of_pandas(["1", "2", "3", "4e0"]), [1, 2, 3, 4]),
    "categories of numbers": (of_pandas([1, 2, 1, 3], "category"), [1, 2, 1, 3]),
    "polars booleans": (of_polars([True, False, True, True]), [1, 0, 1, 1]),
    "polars decimals": (of_polars([Decimal("1.5"), Decimal(2), Decimal(3), Decimal(4)]), [1.5, 2, 3, 4]),
    "polars texts": (of_polars(["1", "2", "3", "4"]), [1, 2, 3, 4]),
    "polars categories": (of_polars(["1", "2", "1", "3"], polars.Categorical), [1, 2, 1, 3]),
    "polars unsigned": (of_polars([1, 2, 3, 4], polars.UInt8), [1, 2, 3, 4]),
}
NO_NUMBERS = {
    "dates": (of_pandas(MOMENTS), r"dates, times or durations \(datetime64"),
    "dates of a zone": (of_pandas(pandas.to_datetime(MOMENTS, utc=True)), "dates, times or durations"),
    "durations": (of_pandas(SPANS), r"dates, times or durations \(timedelta64"),
    "periods": (of_pandas(pandas.period_range("2020-01", periods=4, freq="M")), "the Period 2020-01"),
    "intervals": (of_pandas(pandas.interval_range(0, 4)), "the Interval"),
    "days as objects": (of_pandas(DAYS), "the date 2020-01-01"),
    "moments as objects": (of_pandas(MOMENTS, object), "the datetime 2020-01-01"),
    "NumPy's as objects": (of_pandas([np.timedelta64(day, "D") for day in range(4)], object), "the timedelta64 0 days"),
    "times": (of_pandas(TIMES), "the time 01:00:00"),
    "categories of dates": (of_pandas(MOMENTS, "category"), r"the \w+ 2020-01-01"),
    "texts": (of_pandas(["1", "x", "3", "4"], "string"), "the text 'x'"),
    "integers beyond a double": (of_pandas([1, -(10**400), 2, 3], object), "an integer of 1329 bits"),
    "bytes": (of_pandas([b"1"] * 4), "the bytes b'1'"),
    "lists": (of_pandas([[1], [2], [3], [4]]), r"the list \[1\]"),
    "dicts": (of_pandas([{"a": 1}] * 4), "the dict"),
    "complex": (of_pandas([1j] * 4), "complex numbers"),
    "polars dates": (of_polars(DAYS), r"dates, times or durations \(Date\)"),
    "polars moments": (of_polars(MOMENTS), "dates, times or durations"),
    "polars durations": (of_polars(SPANS), "dates, times or durations"),
    "polars times": (of_polars(TIMES), "dates, times or durations"),
    "polars enum": (of_polars(["a", "b", "a", "b"], polars.Enum(["a", "b"])), "the text 'a'"),
    "polars lists": (of_polars([[1, 2], [3], [4], [5]]), r"the ndarray \[1 2\]"),
    "polars arrays": (of_polars([[1, 2]] * 4, polars.Array(polars.Int64, 2)), "several values"),
    "polars structs": (of_polars([{"a": 1}] * 4), "several values"),
    "polars objects": (of_polars([1, 2, {}, 4], polars.Object), "the dict {}"),
}
MISSING = {
    "nullable integers": of_pandas([1, None, 3, 4], "Int64"),
    "nullable booleans": of_pandas([True, None, True, False], "boolean"),
    "objects": of_pandas([1, None, 3.5, 4], object),
    "polars integers": of_polars([1, None, 3, 4]),
    "polars booleans": of_polars([True, None, True, False]),
    "polars nulls": of_polars([None] * 4),
}


@pytest.mark.parametrize(("frame", "numbers"), NUMBERS.values(), ids=NUMBERS)
def test_numbers(frame: Any, numbers: list[float]) -> None:
    rows = np.array([FIRST, numbers], np.float32).T
    found, same = (estimators.KMeans(k=4, random_state=0).fit(one) for one in (frame, rows))
    assert found.cluster_centers_.tolist() == same.cluster_centers_.tolist()
    one, other = MODEL.predict(frame), MODEL.predict(rows)
    assert one["distance_to_cluster"].tolist() == other["distance_to_cluster"].tolist()


@pytest.mark.parametrize(("frame", "said"), NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_number_is_named_with_its_column(frame: Any, said: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=f"column 'it' has {said}.*, and numbers are expected"):
            estimators.KMeans(k=2).fit(frame)
        with pytest.raises(PredictionError, match=f"column 'it' has {said}"):
            MODEL.predict(frame)


@pytest.mark.parametrize("frame", MISSING.values(), ids=MISSING)
def test_missing_values_are_nan(frame: Any) -> None:
    with pytest.raises(ValueError, match="NaN"):
        estimators.KMeans(k=2).fit(frame)
    with pytest.raises(PredictionError, match="NaN"):
        MODEL.predict(frame)
    values = [
        [np.nan if value is None or value is pandas.NA else float(value) for value in row] for row in frame.to_numpy()
    ]
    found, same = (estimators.XGBoostRegressor(num_round=3).fit(one, FIRST) for one in (frame, np.array(values)))
    assert found.predict(frame).tolist() == same.predict(np.array(values)).tolist()
    loaded = LoadedModel(registry.find("xgboost"), found.model_)
    assert loaded.predict(frame)["score"].tolist() == found.predict(frame).tolist()


def test_dates_in_arrays_and_as_labels() -> None:
    dates = np.array(MOMENTS, "datetime64[D]").reshape(-1, 1)
    with pytest.raises(ValueError, match="dates, times or durations"):
        estimators.KMeans(k=2).fit(dates)
    with pytest.raises(PredictionError, match="dates, times or durations"):
        MODEL.predict(dates)
    with pytest.raises(ValueError, match="y has dates"):
        estimators.LinearLearnerRegressor().fit(np.eye(4), polars.Series(DAYS))


@pytest.mark.parametrize("frames", [np.array, pandas.Series, polars.Series, list])
@pytest.mark.parametrize("name", ["LinearLearner", "FactorizationMachines", "XGBoost"])
def test_texts_as_labels_of_a_regressor(name: str, frames: Any) -> None:
    regressor = getattr(estimators, f"{name}Regressor")().set_params(**({"num_round": 1} if name == "XGBoost" else {}))
    with pytest.raises(ValueError, match="y has the text 'cheap', and numbers are expected"):
        regressor.fit(np.eye(4), frames(["1.5", "cheap", "2", "dear"]))


@pytest.mark.parametrize("values", [DAYS, MOMENTS, SPANS, TIMES])
def test_times_in_tables_of_arrow(values: list[Any]) -> None:
    """scikit-learn takes dates for their nanoseconds."""
    table = pytest.importorskip("pyarrow").table({"a": FIRST, "it": values})
    with pytest.raises(ValueError, match="column 'it' has dates, times or durations"):
        estimators.KMeans(k=2).fit(table)
    with pytest.raises(PredictionError, match="column 'it' has dates, times or durations"):
        MODEL.predict(table)


def test_a_lazy_frame_is_to_be_collected() -> None:
    with pytest.raises(ValueError, match=r"frame\.collect\(\) gives them"):
        estimators.KMeans(k=2).fit(of_polars([1, 2, 3, 4]).lazy())


def test_columns_of_one_name() -> None:
    frame = pandas.concat([of_pandas([1, 2, 3, 4]), of_pandas(MOMENTS)], axis=1)
    with pytest.raises(PredictionError, match="column 'it' has dates"):
        MODEL.predict(frame)
