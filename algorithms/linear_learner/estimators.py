"""The linear learner as scikit-learn's estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.metaestimators import available_if

from algorithms.answers import check_finite
from algorithms.arrays import QuietJob
from algorithms.checkpoints import Checkpoint
from algorithms.estimators.streams import Streaming, StreamsClasses, StreamsNumbers
from algorithms.estimators.supervised import PredictsLabels, Supervised, Unweighted
from algorithms.linear_learner.model import LinearModel
from algorithms.linear_learner.stream import Learning
from recordio.batches import Batch


def _gives_probabilities(estimator: Any) -> bool:
    loss = estimator.model_.loss if hasattr(estimator, "model_") else estimator.loss
    if loss not in ("auto", "logistic", "softmax_loss"):
        raise AttributeError(f"loss={loss!r} gives scores and no probabilities")
    return True


class Linear(Streaming, Supervised):
    """How many classes a model has, and steps on rows as they come: from the first ones, or from a model of ``fit`` or
    ``load``.

    Attributes:
        coef_, intercept_: float32; (d,) and a number of a regressor, (1, d) and (1,) of two classes, else (classes, d)
            and (classes,).
    """

    def _learn(self) -> None:
        model: Any = self.model_
        weight, bias = model.as_one_score()
        is_one = model.predictor_type == "regressor"
        self.coef_, self.intercept_ = (weight[0], bias[0]) if is_one else (weight, bias)

    @staticmethod
    def _classes(model: Any) -> int:
        return {"binary_classifier": 2, "multiclass_classifier": len(model.bias), "regressor": 0}[model.predictor_type]

    @property
    def _is_first(self) -> bool:
        return self._stream is None and "model_" not in vars(self)

    def _check_goes_on(self) -> None:
        """It goes on from any model."""

    def _begin(self, values: Any, job: QuietJob) -> Learning:
        if values.criterion not in (None, "accuracy"):
            raise ValueError(
                f"partial_fit keeps no rows to find a threshold on, and binary_classifier_model_selection_criteria is "
                f"'{values.criterion}': state 'accuracy' or 'loss_function', and compare predict_proba with a "
                "threshold of your own"
            )
        model: LinearModel | None = vars(self).get("model_")
        return Learning(values, job.seed, model)

    def _see(self, state: Learning, batch: Batch, values: Any) -> None:
        state.see(batch)

    def _needed(self, values: Any) -> int:
        return 1

    def _finish(self, state: Learning, values: Any, job: QuietJob) -> LinearModel:
        return state.model()

    def _taken_apart(self, state: Learning) -> Checkpoint:
        return state.to_checkpoint()

    def _put_together(self, state: Learning, kept: Checkpoint) -> None:
        state.resume(kept)


class LinearLearnerClassifier(Linear, StreamsClasses, Unweighted, PredictsLabels):
    """Logistic regression, linear support vector machines and their like; see ``algorithms/linear_learner/README.md``.

    Attributes:
        classes_: the labels, sorted.
    """

    algorithm = "linear-learner"
    fixed = frozenset({"predictor_type", "num_classes"})

    def _kind(self, count: int) -> dict[str, Any]:
        if count == 2:
            return {"predictor_type": "binary_classifier"}
        return {"predictor_type": "multiclass_classifier", "num_classes": count}

    @available_if(_gives_probabilities)  # type: ignore[untyped-decorator]  # scikit-learn has no types
    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), in the order of ``classes_``."""
        return self._probabilities(X)

    def decision_function(self, X: Any) -> np.ndarray:
        """How far each row is from where its class changes, float32: of two classes (n,), above 0 for the second of
        ``classes_``; else (n, classes), the largest of the class that is predicted.

        ``coef_`` and ``intercept_`` give the same, less the model's threshold if it has one.

        Raises:
            ValueError: there is no model, or the rows cannot be used.
        """
        batch = self._batch(X)
        model: Any = self.model_
        with np.errstate(over="ignore", invalid="ignore"):
            margins: np.ndarray = model.margins(batch)
        check_finite({"decision_function": margins})
        return margins


class LinearLearnerRegressor(Linear, StreamsNumbers, Unweighted):
    """Linear regression; see ``algorithms/linear_learner/README.md``."""

    algorithm = "linear-learner"
    fixed = frozenset({"predictor_type", "num_classes"})

    def _kind(self) -> dict[str, Any]:
        return {"predictor_type": "regressor"}
