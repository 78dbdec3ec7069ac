"""What exact training minimises, and how closely."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.linalg.blas import dsyrk

from algorithms.common.hosts import total
from algorithms.common.lbfgs import Evaluate, minimise_all
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts
from algorithms.linear_learner.design import Design, PlainRows, TurnedRows, blockwise
from algorithms.linear_learner.losses import CURVATURES, KINKED, make_loss
from algorithms.linear_learner.newton import Curved, Values, minimise_together, pays
from algorithms.linear_learner.preprocessing import Problem, row_weights
from algorithms.linear_learner.scaling import mean_and_deviation

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

MOST_CURVED = {"logistic": 0.25, "softmax_loss": 0.25, "squared_loss": 2.0, "eps_insensitive_squared_loss": 2.0}
"""The second derivative of a loss, at most; of those with kinks 1 stands for what many rows have together."""
TOLERANCE, ROTATED_TOLERANCE, KEPT_TOLERANCE, STEPS = 1e-3, 3e-4, 1e-6, 50
"""A model is found when a step gains less than this share of its loss, or after so many steps. What the last steps add
to text is fitted to chance, while rotated rows have them for next to nothing. Where rotated rows are many, only the
model that is kept has them: which penalty is best shows before."""
SPARSE_STEPS = 200
"""With an l1 penalty rows cannot be rotated, and more steps are needed."""
SPARSE_TOLERANCE, EXACT_STEPS = 1e-7, 1000
"""The same of the model that is kept with an l1 penalty: which of its weights are 0 the last steps decide."""
WIDTHS = (0.1, 0.01, 0.001)
"""Kinks of losses are rounded over so much of the margin or of the labels' deviation, one after the other, where there
is an l1 penalty: a search that stays where no weight changes its sign ends where two kinks meet."""

BIAS_VARIANCE = 4.0
"""Of the normal prior of the bias of two classes, around the logarithm of the odds of all rows, where columns are not
shifted and rows are ``near_zero``, as those of text are. Left free, it outweighs by chance the many words of few
texts."""

NEWTON_TOLERANCE, NEWTON_KEPT_TOLERANCE = 1e-3, 1e-8
"""The same of Newton's method, before the last step: after it a tenth of this share is left, or less."""
MOST_HELD = 1
"""Up to so many rows that a fold holds out, for each weight, it has second derivatives of its own. Those of more rows
are nearly those of all, and their equations would take long."""
SMALLEST_CURVE = 1e-12
"""Times the largest second derivative by the scores of a row, added to all: in the direction in which the scores of all
classes grow alike there is none, and rounding may leave less than none."""


class HeldRows(NamedTuple):
    """The rows that each of k folds holds out, (k, h, q), and their numbers among those of all hosts, (k, h); of fewer
    than h rows the others are 0."""

    places: np.ndarray
    rows: np.ndarray


class Objective:
    """Mean weighted loss and penalty of the models of all folds, and of one of all rows.

    Models have numbers: ``folds`` those of the folds, or where there are none that of all rows, which is ``whole``.
    ``labels`` (n,) and ``held`` (n, k) are of this host's rows, and so are scores and losses; values and gradients are
    of all hosts', which have so many ``rows`` without copies. ``alone`` is the share of the rows that are the only one
    of their class among several.
    """

    def __init__(
        self,
        hp: LinearLearnerHyperparameters,
        problem: Problem,
        design: Design,
        labels: np.ndarray,
        held: np.ndarray,
        rows: int,
        hosts: Hosts,
    ) -> None:
        self.hp, self.problem, self.design, self.labels, self.hosts = hp, problem, design, labels, hosts
        self.outputs = problem.outputs
        self.size = (design.columns + 1) * self.outputs
        self.loss = make_loss(hp.loss_name, hp)
        self.penalty = 0.0
        bias = 0.0 if hp.bias_wd_mult == AUTO else float(hp.bias_wd_mult) * design.size**2
        self.shrink = np.append(design.shrink, np.float32(bias))
        self.first_bias = self._log_odds() if hp.use_bias and hp.loss_name == "logistic" else 0.0
        self.bias_pull, self.usual_bias = 0.0, 0.0
        if design.near_zero and hp.loss_name == "logistic" and hp.wd == hp.bias_wd_mult == AUTO and hp.use_bias:
            self.bias_pull, self.usual_bias = 1 / (BIAS_VARIANCE * rows), self.first_bias
        l1 = 0.0 if hp.l1 == AUTO else float(hp.l1) / design.size
        self.l1 = np.repeat(np.append(np.full(design.columns, l1), 0), self.outputs).astype(np.float32) if l1 else None
        self.whole = held.shape[1]
        self.folds = list(range(self.whole)) or [self.whole]
        inside = np.column_stack([~held, np.ones(len(labels), bool)]).astype(np.float32)
        self.alone = 0.0
        if self.outputs > 1:
            inside *= self._class_shares(inside)
        (counts,) = hosts.sum(inside.sum(axis=0, dtype=np.float64))
        self.share = np.asfortranarray(inside / counts, design.dtype)  # (n, models): what a slope counts in the mean
        self.columns = self._columns()
        if self.columns is not None and self.outputs > 1:
            left, right = np.triu_indices(self.columns.shape[1])
            turned = np.ascontiguousarray(self.columns.T)
            self.pairs = (turned[left] * turned[right]).T
            self.places = np.empty((self.columns.shape[1],) * 2, np.intp)  # of each two columns among the pairs
            self.places[left, right] = self.places[right, left] = np.arange(len(left))
        self.held_rows = self._held_rows(held)

    def _held_rows(self, held: np.ndarray) -> HeldRows | None:
        """The rows that folds hold out, where Newton's method is used, and they are few; see ``MOST_HELD``."""
        if self.columns is None or not self.whole:
            return None
        most = int(self.hosts.sum(held.sum(axis=0))[0].max())
        if most * self.outputs > MOST_HELD * self.size:
            return None
        parts = self.hosts.gather([self.columns, held])
        columns, out = (np.concatenate(of_hosts) for of_hosts in zip(*parts, strict=True))
        places = np.zeros((self.whole, most), np.intp)
        there = np.zeros((self.whole, most))
        for fold in range(self.whole):
            found = np.flatnonzero(out[:, fold])
            places[fold, : len(found)], there[fold, : len(found)] = found, 1
        return HeldRows(places, columns[places] * there[:, :, None])

    def _log_odds(self) -> float:
        """Of the second of two classes, by what rows count, with half a row more of each."""
        weights = row_weights(self.problem, self.labels, self.hp)
        (counts,) = self.hosts.sum(np.bincount(self.labels.astype(np.int64), weights, 2).astype(np.float64))
        return float(np.log((counts[1] + 0.5) / (counts[0] + 0.5)))

    def nothing(self) -> np.ndarray:
        """(p,) the model that looks at no column, from which a search begins: of two classes, with their odds, which
        saves it steps where one is rare."""
        weights = np.zeros((self.design.columns + 1, self.outputs), self.design.dtype)
        weights[-1] = self.first_bias
        return weights.ravel()

    def like(self, other: Objective, points: list[np.ndarray]) -> list[np.ndarray]:
        """Where a search begins in this scaling, (p,) for each of these ``points`` of another one: with the scores that
        they have there, where Newton's method is used and columns are uncorrelated, which saves half of the steps; else
        from ``nothing``."""
        if self.columns is None or not self.design.is_turned:
            return [self.nothing() for _ in points]
        m, rows, c = len(points), len(self.labels), self.outputs
        biases = np.array([point.reshape(-1, c)[-1] for point in points], np.float64)
        scores = (other.scores(points) - biases).reshape(rows, m * c)
        (products,) = self.hosts.sum(self.columns[:, :-1].T @ scores)
        weights = (products / total(self.hosts, rows)).reshape(self.design.columns, m, c)
        return [np.vstack([weights[:, place], biases[place]]).ravel() for place in range(m)]

    def _class_shares(self, inside: np.ndarray) -> np.ndarray:
        """(n, models) what rows count more in a fold that holds others of their class out: without that, a class of two
        rows is half as likely as others to the very model that is asked for one of them."""
        classes = self.labels.astype(np.int64)
        mine = [np.bincount(classes, of_model, self.outputs) for of_model in inside.T]
        (known,) = self.hosts.sum(np.column_stack(mine).astype(np.float64))  # integers, of no rows
        self.alone = float(np.sum(known[:, -1] == 1) / max(known[:, -1].sum(), 1))
        return np.asarray((known[:, -1:] / np.maximum(known, 1))[classes], np.float32)

    def _columns(self) -> np.ndarray | None:
        """(n, r + 1) the rows with a column for the bias, where Newton's method is to be used."""
        plain, rows, columns = self.design.rows, total(self.hosts, len(self.labels)), self.design.columns + 1
        if self.l1 is not None or self.hp.loss_name not in CURVATURES:
            return None
        if not isinstance(plain, PlainRows) or plain.features.dtype != np.float64:
            return None
        if not pays(rows, columns, self.outputs, len(self.folds)):
            return None
        return np.column_stack([plain.features, np.full(len(self.labels), float(self.hp.use_bias))])

    @property
    def starts_slowly(self) -> bool:
        """Whether a search from nothing takes more steps than those from a neighbouring penalty's models, one after the
        other: L-BFGS does of rows that are not rotated, and of several classes, whose scores depend on each other."""
        return self.columns is None and (self.design.back is None or self.outputs > 1)

    def inverse(self) -> np.ndarray:
        """(p,) preconditioner: the inverse of the loss' second derivatives, at most, and the penalty's.

        It is 0 for weights that neither depends on: those of columns without values, at a penalty of 0.
        """
        curvature = MOST_CURVED.get(self.hp.loss_name, 1.0) * np.append(self.design.mean_square, 1)
        diagonal = curvature + self._pulls()
        inverse = np.divide(1, diagonal, out=np.zeros_like(diagonal), where=diagonal > 0)
        return np.repeat(inverse, self.outputs).astype(self.design.dtype)

    def minimise(self, numbers: list[int], starts: list[np.ndarray], *, kept: bool = False) -> list[np.ndarray]:
        """The models of these numbers at this penalty; ``kept`` where they are not only to be compared with others."""
        chosen = np.array(numbers)
        if self.columns is not None:
            tolerance = NEWTON_KEPT_TOLERANCE if kept else NEWTON_TOLERANCE

            def values(places: np.ndarray, points: np.ndarray) -> Values:
                return self.values(chosen[places], points)

            def curvature(places: np.ndarray, points: np.ndarray) -> Curved:
                return self.curvature(chosen[places], points)

            return list(minimise_together(values, curvature, np.array(starts), tolerance, STEPS, self.hosts))

        def evaluate(places: list[int], points: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
            return self([numbers[place] for place in places], points)

        if self.l1 is not None:
            return self._minimise_sparse(evaluate, starts, kept)
        closely = self.design.back is not None and (kept or not isinstance(self.design.rows, TurnedRows))
        tolerance = (KEPT_TOLERANCE if kept else ROTATED_TOLERANCE) if closely else TOLERANCE
        return minimise_all(evaluate, starts, self.inverse(), tolerance, STEPS, hosts=self.hosts)

    def _minimise_sparse(self, evaluate: Evaluate, starts: list[np.ndarray], kept: bool) -> list[np.ndarray]:
        """The same with an l1 penalty."""
        name, found = self.hp.loss_name, starts
        unit = self.hp.margin if name == "hinge_loss" else float(mean_and_deviation(self.labels, self.hosts)[1])
        tolerance, steps = (SPARSE_TOLERANCE, EXACT_STEPS) if kept else (ROTATED_TOLERANCE, SPARSE_STEPS)
        for width in (WIDTHS if kept else WIDTHS[:2]) if name in KINKED else (0.0,):
            self.loss = make_loss(name, self.hp, width * (unit or 1.0))
            found = minimise_all(evaluate, found, self.inverse(), tolerance, steps, self.l1, self.hosts)
        self.loss = make_loss(name, self.hp)
        return found

    def scores(self, points: list[np.ndarray]) -> np.ndarray:
        """(n, m, c) scores of all rows by the models at these points."""
        stacked = np.hstack([point.reshape(-1, self.outputs) for point in points])
        scores = self.design.rows.scores(np.ascontiguousarray(stacked[:-1]))
        scores += stacked[-1]
        return scores.reshape(len(scores), len(points), self.outputs)

    def of(self, scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weighted losses (n, m) and slopes (n, m, c) of scores (n, m, c)."""
        weights = row_weights(self.problem, labels, self.hp)
        if self.outputs > 1:
            losses, slopes = self.loss(scores, labels.astype(np.int64))
        else:
            losses, slopes = self.loss(scores[:, :, 0], labels[:, None])
            slopes = slopes[:, :, None]
        if weights is None:
            return losses, slopes
        return losses * weights[:, None], slopes * weights[:, None, None]

    def losses(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same of the training rows."""
        return self.of(scores, self.labels)

    def __call__(self, numbers: list[int], points: list[np.ndarray]) -> list[tuple[float, np.ndarray]]:
        """Values and gradients; see ``lbfgs.Evaluate``."""
        m, c = len(points), self.outputs
        weights = np.array(points).reshape(m, -1, c)
        stacked = weights.transpose(1, 0, 2).reshape(-1, m * c)
        values, bias = np.zeros(m), np.zeros(m * c, self.design.dtype)

        chosen = slice(numbers[0], numbers[-1] + 1) if numbers[-1] - numbers[0] + 1 == m else numbers  # a view

        def slopes(part: slice, scores: np.ndarray) -> np.ndarray:
            nonlocal values, bias
            share = self.share[part, chosen]
            scores = np.asfortranarray(scores)  # rows are many, and numpy is slow at loops of a few
            scores += stacked[-1]
            losses, derivatives = self.of(scores.reshape(len(scores), m, c), self.labels[part])
            values = values + np.einsum("nm,nm->m", losses, share, dtype=np.float64)
            flat = (derivatives * share[:, :, None]).reshape(scores.shape).astype(self.design.dtype, copy=False)
            bias = bias + np.ones(len(flat), flat.dtype) @ flat  # sums along rows take several times as long
            return flat

        weighted = blockwise(self.design.rows, stacked[:-1], slopes)
        gradient = np.vstack([weighted, bias if self.hp.use_bias else np.zeros_like(bias)])
        gradient, values = self.hosts.sum(gradient, values)
        pulled = self._pulled(np.array(numbers), weights).astype(gradient.dtype, copy=False)
        values = values + self._pull(pulled, weights)
        gradient = (gradient.reshape(-1, m, c).transpose(1, 0, 2) + pulled).reshape(m, -1)
        return list(zip(values.tolist(), gradient, strict=True))

    def values(self, numbers: np.ndarray, points: np.ndarray) -> Values:
        """Values and gradients; see ``newton.Evaluate``.

        The leader adds the penalty before the sum, so that hosts whose processors round otherwise have the same values.
        """
        assert self.columns is not None, "Newton's method was chosen"
        m, rows, c = len(points), len(self.labels), self.outputs
        losses, slopes = self.losses(self._newton_scores(points))
        share = self._shares(numbers)
        weights = points.reshape(m, -1, c)
        pulled = self._pulled(numbers, weights)
        pull = self._pull(pulled, weights) if self.hosts.rank == 0 else 0.0
        value, gradient = self.hosts.sum(
            np.einsum("nm,nm->m", losses, share) + pull,
            self.columns.T @ (slopes * share[:, :, None]).reshape(rows, m * c),
        )
        gradient = gradient.reshape(-1, m, c).transpose(1, 0, 2).reshape(m, -1)
        return Values(value, gradient + pulled.reshape(m, -1))

    def curvature(self, numbers: np.ndarray, points: np.ndarray) -> Curved:
        """Their second derivatives, of all rows; a fold lacks those that it holds out. See ``newton.Curvature``."""
        assert self.columns is not None, "Newton's method was chosen"
        rows, c, q = len(self.labels), self.outputs, self.columns.shape[1]
        curves = CURVATURES[self.hp.loss_name](self._newton_scores(points))
        share = self._shares(numbers)
        known = np.maximum(np.count_nonzero(share, axis=1), 1)
        mean = np.einsum("nmbc,nm->nbc", curves, share) / known[:, None, None]
        if (of_rows := row_weights(self.problem, self.labels, self.hp)) is not None:
            mean *= of_rows[:, None, None]
        if c == 1:
            weighted = (self.columns * np.sqrt(mean[:, :, 0])).T
            (hessian,) = self.hosts.sum(dsyrk(1.0, weighted))
        else:
            (hessian,) = self.hosts.sum(mean.reshape(rows, c * c).T @ self.pairs)
            hessian = hessian[:, self.places].reshape(c, c, q, q).transpose(2, 0, 3, 1).reshape(q * c, q * c)
        of_folds, folds = self.design.of_folds, numbers[numbers < self.whole]
        if of_folds is not None and folds.size:
            of_outputs = np.einsum("pcqc->cpq", hessian.reshape(q, c, q, c))  # a view
            of_outputs[:, :-1, :-1] += self.penalty * of_folds[folds].mean(axis=0)
            of_outputs[:, -1, -1] += self._pulls()[-1]
        else:
            hessian.ravel(order="K")[:: q * c + 1] += np.repeat(self._pulls(), c)
        return Curved(np.asarray(hessian), self._lacking(numbers, mean))

    def _lacking(self, numbers: np.ndarray, curves: np.ndarray) -> np.ndarray | None:
        """What the folds of these numbers lack of the second derivatives of all rows, of which ``curves`` (n, c, c) are
        those of this host's by their scores; see ``newton.Curved``."""
        if self.held_rows is None or not (numbers < self.whole).all():
            return None
        every = np.concatenate(self.hosts.gather(curves))
        rows, c = self.held_rows.rows[numbers], self.outputs
        of_rows = every[self.held_rows.places[numbers]]  # (m, h, c, c)
        if c == 1:
            return np.asarray(rows * np.sqrt(of_rows[:, :, 0]))
        of_rows += (SMALLEST_CURVE * of_rows.max() + np.finfo(float).tiny) * np.eye(c)
        try:
            root = np.linalg.cholesky(of_rows).transpose(0, 1, 3, 2)
        except np.linalg.LinAlgError:  # beyond what float64 tells apart
            return None
        lacking = root[:, :, :, None, :] * rows[:, :, None, :, None]  # (m, h, c, q, c)
        return np.asarray(lacking.reshape(len(numbers), -1, self.size))

    def _shares(self, numbers: np.ndarray) -> np.ndarray:
        """(n, m) what rows' slopes count in the means of the models of these numbers."""
        every = len(numbers) == len(self.folds) and numbers[-1] == self.folds[-1]
        return self.share[:, : self.whole or 1] if every else self.share[:, numbers]

    def _pulls(self) -> np.ndarray:
        """(r + 1,) second derivatives of the penalty, and of the bias' prior."""
        pulls = self.penalty * self.shrink
        pulls[-1] += self.bias_pull
        return pulls

    def _pull(self, pulled: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(m,) the penalty, with the prior, of which these are the gradients; see ``_pulled``."""
        of_weights = np.vecdot(pulled.reshape(len(pulled), -1), weights.reshape(len(weights), -1))
        if self.usual_bias:
            of_weights = of_weights - self.usual_bias * pulled[:, -1].sum(axis=1)
        return np.asarray(0.5 * of_weights)

    def _pulled(self, numbers: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """(m, r + 1, c) the gradients of the penalty, and of the bias' prior, in the weights (m, r + 1, c) of the
        models of these numbers."""
        pulls = self._pulls().astype(weights.dtype, copy=False)
        pulled = pulls[:, None] * weights
        if self.usual_bias:
            pulled[:, -1] -= pulls[-1] * weights.dtype.type(self.usual_bias)
        if self.design.of_folds is not None and (folds := numbers < self.whole).any():
            pulled[folds, :-1] = self.penalty * (self.design.of_folds[numbers[folds]] @ weights[folds, :-1])
        return np.asarray(pulled)

    def _newton_scores(self, points: np.ndarray) -> np.ndarray:
        """(n, m, c) of the rows by the models at these points."""
        assert self.columns is not None, "Newton's method was chosen"
        weights = points.reshape(len(points), -1, self.outputs).transpose(1, 0, 2)
        scores = self.columns @ weights.reshape(len(weights), -1)
        return scores.reshape(len(self.labels), len(points), self.outputs)
