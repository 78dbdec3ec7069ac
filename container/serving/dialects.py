"""How the families of SageMaker's containers differ in requests and answers: one Dialect for each family.

An algorithm names its family (``Serving.dialect``), which is all that is known of it here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from algorithms.interface import CSV, JSON, JSON_LINES, LIBSVM

LIST = "list"
WRAPPED = "wrapped"
FIRST = "first"


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How requests are taken and answered.

    Attributes:
        default_request: the media type of a request without Content-Type; None refuses it.
        default_answer: the media type where the request does not ask for one.
        default_in_batch: the same in batch transform; None if it is no other.
        in_kind: a request that does not ask for a media type is answered in its own.
        json_form: ``WRAPPED`` is an object with a list of objects; ``LIST`` the list of the first column's values
            alone; ``FIRST`` the first of these alone.
        bracket_csv: in batch transform, and where all rows are on one line, several values of one row are written to
            CSV as a list in brackets; elsewhere they are fields of their own.
        lines_in_batch: in batch transform an answer in JSON or JSON Lines has the lines of one in CSV.
        one_line_csv: outside of batch transform, all rows of a CSV answer are joined by commas.
        always_csv: the answer is CSV, whatever Accept says, except where outputs are selected.
        label_size: the only ``label_size`` that the content type of a CSV request may state, without any effect; None
            takes any, and so many leading fields are left out.
        empty_status: the status that answers an empty body.
        unsupported: the text that answers a content type that is not taken, with ``{0}`` for it and ``{1}`` for those
            that are.
        unreadable_status, unreadable_prefix: what answers a body that cannot be read as rows.
        prediction_prefix: what the text starts with that answers rows that the model cannot take.
        not_acceptable_status: the status that answers an Accept that cannot be met.
        answered_by_default: media types that an Accept may name where the algorithm has no answer in them: the default
            answers.
        identifies: a record of a RecordIO answer has the ``uid`` and ``metadata`` of the record that it answers.
    """

    default_request: str | None = None
    default_answer: str = JSON
    default_in_batch: str | None = None
    in_kind: bool = False
    json_form: str = WRAPPED
    bracket_csv: bool = False
    lines_in_batch: bool = False
    one_line_csv: bool = False
    always_csv: bool = False
    label_size: int | None = None
    empty_status: int = 400
    unsupported: str = "Content-Type header value '{0}' not supported; supported are {1}"
    unreadable_status: int = 400
    unreadable_prefix: str = ""
    prediction_prefix: str = ""
    not_acceptable_status: int = 406
    answered_by_default: tuple[str, ...] = ()
    identifies: bool = False


XGBOOST = Dialect(
    default_request=LIBSVM,
    default_answer=CSV,
    bracket_csv=True,
    lines_in_batch=True,
    label_size=1,
    empty_status=204,
    unsupported=(  # their words, which list Parquet, though their requests cannot be that
        "{0} is not an accepted ContentType: csv, libsvm, parquet, recordio-protobuf, text/csv, text/libsvm, "
        "text/x-libsvm, application/x-parquet, application/x-recordio-protobuf."
    ),
    unreadable_status=415,
    prediction_prefix="Unable to evaluate payload provided: ",
)
"""Amazon's open XGBoost container: ``algorithm_mode/serve.py``."""

_DIALECTS = {
    # A linear learner of SageMaker's answered JSON where text/csv was accepted: issue 993 of aws/sagemaker-python-sdk,
    # and 821 of aws/amazon-sagemaker-examples, where a transform job found no CSV in such an answer.
    # Records of answers have uid and metadata in the guide's "Common data formats for inference", and in its "Linear
    # learner response formats".
    "sagemaker": Dialect(answered_by_default=(CSV,), identifies=True),
    "xgboost": XGBOOST,
    "images": Dialect(default_in_batch=JSON_LINES, json_form=FIRST),  # notebooks read ["prediction"] in batch
    "sequences": Dialect(default_request=JSON, in_kind=True),
}
_MULTI_MODEL = {
    # Another program answers there (``algorithm_mode/handler_service.py``), otherwise than the same container alone.
    "xgboost": replace(
        XGBOOST, default_answer=JSON, json_form=LIST, one_line_csv=True, bracket_csv=True, not_acceptable_status=415
    ),
}


_EARLIER = {
    # Images before 1.2-2 read Accept for selected outputs only: one line, which many notebooks split at commas.
    "xgboost": ((1, 2, 2), replace(XGBOOST, one_line_csv=True, always_csv=True)),
}


def find(name: str, *, multi_model: bool = False, version: tuple[int, ...] | None = None) -> Dialect:
    """The dialect called ``name``, on a multi-model endpoint or not, of the image's ``version`` or the newest."""
    if multi_model:
        return _MULTI_MODEL.get(name, _DIALECTS[name])
    until, earlier = _EARLIER.get(name, ((), _DIALECTS[name]))
    return earlier if version is not None and version < until else _DIALECTS[name]
