"""`df.cases.where`: labels, spellings and ``is_open`` mean the same locally as on the service."""

import io
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest

import casesearch_pd as cs
from tests.law_bench import quietly


@pytest.fixture(scope="module")
def local():
    with cs.LocalCases(cases=120, seed=2) as emulator:
        yield emulator


@pytest.fixture(params=["connect", "persona"])
def source(request):
    # Each service has an emulator of its own, so that no case id is one of both.
    with cs.LocalCases(cases=80, seed=3 + len(request.param)) as emulator:
        yield getattr(emulator, f"{request.param}_cases")()


def through_pickle(frame):
    return pickle.loads(pickle.dumps(frame))


def through_parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return pd.read_parquet(file)


def merged(frame):
    return frame.merge(frame[["case_id"]], on="case_id")


def as_objects(frame):
    return frame.astype(object).where(frame.notna(), None)


# --- labels and spellings -------------------------------------------------------------------------


def warnings_of(call):
    """Return the result of a call and the texts of its warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = call()
    return result, [str(item.message) for item in caught]


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "Open"},
        {"status": "OPEN"},
        {"status": "Waiting for customer"},
        {"status": "waiting for CUSTOMER"},
        {"status": ["Open", "Waiting for customer"]},
        {"status__ne": "Closed"},
        {"status": "Opne"},
        {"priority": "High"},
        {"priority": ["HIGH", "Urgent"]},
        {"status__contains": "ope"},
        {"priority__contains": "hi"},
        {"title__contains": "a"},
    ],
)
def test_a_label_or_letter_case_means_the_same_locally_as_on_the_service(local, filters):
    """The rows, the warning or the refusal: none of them depends on where it is evaluated."""
    source = local.connect_cases()
    frame = cs.read_cases(source)

    def answer(call):
        try:
            result, messages = warnings_of(call)
        except cs.FilterError as error:
            return str(error)
        about_values = [text for text in messages if "not an option" in text]
        return sorted(result["case_id"]), about_values

    expected = answer(lambda: cs.read_cases(source, **filters))
    assert answer(lambda: frame.cases.where(**filters)) == expected
    for travel in (through_pickle, through_parquet, as_objects, merged):
        reloaded = travel(frame)
        assert answer(lambda frame=reloaded: frame.cases.where(**filters)) == expected


def test_labels_that_a_user_put_into_the_cells_are_values():
    with cs.LocalCases(cases=50) as emulator:
        frame = cs.read_cases(emulator.connect_cases())
    labels = dict(frame.cases.provenance["options"]["status"])
    renamed = frame.assign(status=frame["status"].map(labels))
    for value, label in labels.items():
        assert len(renamed.cases.where(status=label)) == (frame["status"] == value).sum()


def test_values_that_a_user_changed_are_compared_as_they_are(local):
    frame = cs.read_cases(local.connect_cases())
    is_closed = frame["status"].eq("closed")
    upper = frame.assign(status=frame["status"].str.upper())
    assert len(upper.cases.where(status="CLOSED")) == is_closed.sum() > 0
    with pytest.warns(UserWarning, match="the nearest is 'CLOSED'"):
        assert upper.cases.where(status="closed").empty
    some = frame.assign(status=frame["status"].mask(is_closed, "Archived"))
    assert len(some.cases.where(status="Archived")) == is_closed.sum()
    title = frame.assign(status=frame["status"].mask(is_closed, "Closed"))
    assert len(title.cases.where(status=["Closed"])) == is_closed.sum()


def test_an_order_of_categories_is_not_the_order_of_their_values():
    levels = pd.CategoricalDtype(["low", "medium", "high"], ordered=True)
    frame = pd.DataFrame({"case_id": list("abc"), "x": ["low", "medium", "high"]})
    frame = frame.astype({"x": levels})
    for filters in ({"x__gte": "medium"}, {"x__between": ("low", "medium")}):
        with pytest.raises(cs.FilterError, match=r"order of its own.*use df\[df\['x'\] >= …\]"):
            frame.cases.where(**filters)
    assert len(frame.cases.where(x="low")) == 1
    numbers = frame.assign(x=pd.Categorical([1, 2, 3], ordered=True))
    assert len(numbers.cases.where(x__gte=2)) == 2


@pytest.mark.parametrize(
    ("filters", "nearest"),
    [
        ({"status": "open"}, "'Open'"),
        ({"status__ne": "open"}, "'Open'"),
        ({"status": ["Open", "ready for review"]}, "'Ready for Review'"),
        ({"status": "Opne"}, "'Open'"),
        ({"queue": "EMEA"}, "'emea'"),
    ],
)
@pytest.mark.parametrize("dtype", ["str", "category", object])
def test_a_text_that_no_cell_has_is_warned_of_with_the_one_that_is_similar(filters, nearest, dtype):
    frame = pd.DataFrame({"case_id": list("abc"), "status": ["Open", "Ready for Review", None]})
    frame = frame.assign(queue=["emea", "apac", "emea"]).astype({"status": dtype, "queue": dtype})
    with pytest.warns(UserWarning, match=nearest):
        frame.cases.where(**filters)


@pytest.mark.parametrize(
    "filters",
    [
        {"status": "Open"},
        {"status": ["Open", "closed"]},
        {"status": "withdrawn"},
        {"title": "case 001"},
        {"case_id": "C7"},
        {"status__contains": "open"},
        {"status": [f"code {number}" for number in range(30)]},
    ],
)
def test_a_text_that_is_similar_to_no_cell_or_one_of_many_is_no_reason_to_warn(filters):
    rows = [(f"c{number}", f"case {number}", "Open") for number in range(100)]
    frame = pd.DataFrame(rows, columns=["case_id", "title", "status"])
    assert warnings_of(lambda: frame.cases.where(**filters))[1] == []


# --- is_open --------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["read", "merged", "objects", "csv", "exploded"])
def test_is_open_filters_the_cases_that_are_open(source, change):
    with quietly():
        open_ids = sorted(cs.read_cases(source, is_open=True, columns=["case_id"])["case_id"])
    frame = cs.read_cases(source)
    changed = {
        "read": lambda: frame,
        "merged": lambda: frame.merge(pd.DataFrame({"case_id": frame["case_id"], "own": 1})),
        "objects": lambda: frame.astype(object).where(frame.notna(), None),
        "csv": lambda: pd.read_csv(io.StringIO(frame.to_csv(index=False))),
        "exploded": lambda: frame.explode("tags"),
    }[change]()
    is_open = changed.cases.is_open
    where = changed.cases.where
    assert 0 < is_open.sum() < len(changed)
    assert where(is_open=True).index.tolist() == changed.index[is_open].tolist()
    assert where(is_open__ne=True).index.tolist() == changed.index[~is_open].tolist()
    assert where(cs.field("is_open") == np.False_).index.equals(changed.index[~is_open])
    assert where(~(cs.field("is_open") == True)).index.equals(changed.index[~is_open])  # noqa: E712
    assert list(where(is_open=True).columns) == list(changed.columns)
    assert sorted(set(where(is_open=True)["case_id"])) == open_ids


def test_is_open_is_refused_where_it_is_not_known(source):
    frame = cs.read_cases(source, columns=["case_id"])
    with pytest.raises(cs.FilterError, match="is missing; read it too"):
        frame.cases.where(is_open=True)
    frame = cs.read_cases(source)
    for filters in ({"is_open": "yes"}, {"is_open": None}, {"is_open__gt": True}, {"is_open": 1}):
        with pytest.raises(cs.FilterError, match="is_open must be True or False"):
            frame.cases.where(**filters)


def test_a_column_of_the_name_is_open_is_filtered_as_any_column():
    frame = pd.DataFrame({"case_id": list("ab"), "status": "closed", "is_open": [True, False]})
    assert frame.cases.where(is_open=True)["case_id"].tolist() == ["a"]
