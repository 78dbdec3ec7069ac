"""Training on rows that fit in memory.

All is convex, so that steps, their sizes and their number need not be guessed: each model is minimised, a small one
by Newton's method, another by L-BFGS. What has to be chosen is the penalty, and what it is measured in. A path is
followed from the usual penalty to weaker ones, each model starting at the last one's minimum (Friedman, Hastie and
Tibshirani, "Regularization Paths for Generalized Linear Models via Coordinate Descent", Journal of Statistical Software
33, 2010), until the loss on rows that a model was not trained on rises; to stronger ones where it does at once; and
from a stronger one than the usual where a search from nothing would take long. Those rows are the validation channel,
or else those of cross-validation, whose models are trained side by side; the model that is kept is then trained on all
rows.

Penalties are measured in features of deviation 1 and, unless ``normalize_data`` is stated, in features as they are,
too: rare words that are blown up to deviation 1 would weigh as much as common ones.

Several hosts minimise together: each has its rows, losses and gradients are summed, and what the sums decide is decided
by the leader's.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from algorithms.common.hosts import any_host, from_leader, in_order, of_leader, total
from algorithms.common.lbfgs import HISTORY, ahead
from algorithms.events import Measured, ModelValues, Progress, StoppingCriterion, Throughput
from algorithms.hyperparameters import AUTO
from algorithms.interface import Hosts, Job
from algorithms.linear_learner.design import Design, designs, may_know_within
from algorithms.linear_learner.losses import objective_name
from algorithms.linear_learner.objective import Objective
from algorithms.linear_learner.preprocessing import Problem, one_label, row_weights
from algorithms.linear_learner.scaling import mean_and_deviation
from algorithms.linear_learner.selection import aligned, calibrate, counted_rows
from algorithms.linear_learner.temperature import temperature
from algorithms.linear_learner.validation import Folds, Rows, fold_count, folds
from recordio.batches import Batch

if TYPE_CHECKING:
    from algorithms.linear_learner import LinearLearnerHyperparameters

PATH_MEMORY = 1 << 28
"""Bytes of rows, and of models, up to which a job is trained in this way: what a Pipe job keeps stays bounded."""
PENALTIES = (1.0, *(float(10 ** -(1 + step * 3 / 4)) for step in range(12)))
"""Times the mean square of a scaled row: from 1, which leaves little of any weight, down to 6e-10."""
WORSE, FEW_ROWS = 2, 2500
"""So many penalties after the best one, the path ends; from that many rows on one will do: their losses are smooth."""
SURELY_WORSE = 0.5
"""One will do, too, if its losses, row by row, are worse by so many standard errors: the next would be worse yet."""
STRONG = 1e-3
"""Down to this penalty the path never ends: there models differ too little to tell better from worse."""
BEFORE = 2
"""So many penalties before the usual one a path begins where a search from nothing would take long."""
HOPELESS = 1.2
"""Times the lowest loss of another scaling: one whose loss at that one's best penalty is higher is followed no more."""
WEAKEST_FIRST = 1e-4
"""The weakest penalty that a path begins with: a weaker one takes long to minimise from nothing."""
DOUBT = 2.5
"""Times the number of rows to the power of -1.5: the share of labels that is taken for possibly wrong. It keeps 20 rows
that are all classified rightly from asking for scores without end, and is nothing at a thousand."""
PRIOR = 3.0
"""Times the number of rows to the power of -1.5, and the square of the decades between a penalty and the usual one:
what speaks against it before any row is seen, in logarithms of likelihood. Few rows say little, and by chance that no
feature counts."""
USUAL_VARIANCE, USUAL_NOISE = 10.0, 0.25
"""The usual penalty of n rows is 1 / (n v), with the variance v of scores of classes (a deviation of 3.2 is a
probability of 0.04 or 0.96), and of regression 2 s / n, where a share s of the variance of labels is noise: it belongs
to the normal prior of the weights that gives such scores."""
UNJUDGED, UNJUDGED_FACTOR = 0.4, 1.5
"""Of classes of one row each, where nothing tells how far rows scatter, the share of the penalty that scikit-learn's
LogisticRegression has of standardised rows, and the factor of their scores. With all of it and no factor, classes that
are far apart are told with too little certainty; with none of it those that are near each other with far too much, and
wrongly more often."""
ALIKE_ERRORS = 0.25
"""Models whose losses, row by row, differ by no more standard errors are as good as each other. The weakest penalty of
them is kept: folds have fewer rows than the model that is kept, and ask for a stronger one than it needs; and where a
signal is faint, scores that are all but equal leave it to the share of classes which of them is predicted."""
LENGTHENED = 1.5
"""Times the squared logarithm of the factor of scores, by the number of rows that tell it: what speaks against a
penalty that needs one."""
MOST_ALONE = 0.05
"""Share of the rows that are the only ones of their classes: of more, those that are held out, which these never are,
say too little of scores on rows to come."""
CHANCES = ("logistic", "softmax_loss")
"""Losses that are minus a logarithm of likelihood."""
_WITHOUT_EFFECT = (
    *("mini_batch_size", "epochs", "early_stopping_patience", "early_stopping_tolerance"),
    *("init_method", "init_scale", "init_sigma", "init_bias"),
    *("optimizer", "learning_rate", "beta_1", "beta_2", "momentum", "bias_lr_mult"),
    *("use_lr_scheduler", "lr_scheduler_factor", "lr_scheduler_minimum_lr", "lr_scheduler_step"),
)
"""Hyperparameters that do not change where the minimum of a convex loss is: where a descent starts and ends, how long
its steps are, or how many rows they look at. The SageMaker Python SDK states a mini_batch_size in every job."""


def without_effect(hp: LinearLearnerHyperparameters) -> list[str]:
    """The stated hyperparameters that do not matter to an exact minimum."""
    unused = [name for name in _WITHOUT_EFFECT if name in hp.given]
    return unused if "num_models" not in hp.given or _is_one_penalty(hp) else ["num_models", *unused]


def _is_one_penalty(hp: LinearLearnerHyperparameters) -> bool:
    """Whether the job wants one model of the ``wd`` that it states: a tuning job searches by itself."""
    return hp.wd != AUTO and (hp.num_models == 1 or bool(hp.tuning_objective_metric))


def _penalties(
    hp: LinearLearnerHyperparameters, design: Design, rows: int, *, judged: bool
) -> tuple[tuple[float, ...], int]:
    """Those to try, the strongest first, and the number of the first to try: a stated ``wd``, of features in their
    scaling, with its neighbours; or the one nearest to the usual one; or where no row judges them, one alone."""
    if hp.wd == AUTO and not judged:
        return (UNJUDGED / (rows * design.size**2),), 0
    if hp.wd == AUTO:
        first = np.log(max(_usual(hp, rows), WEAKEST_FIRST))
        return PENALTIES, int(np.abs(np.log(PENALTIES) - first).argmin())
    stated = hp.wd / design.size**2
    if _is_one_penalty(hp) or not stated:
        return (stated,), 0
    return (10 * stated, stated, 0.1 * stated), 1


def models_memory(hp: LinearLearnerHyperparameters, rows: int, columns: int) -> int:
    """Bytes of the models trained side by side: their weights with the history of each, and their scores."""
    outputs = hp.num_classes if hp.predictor_type == "multiclass_classifier" else 1
    models = fold_count(rows)
    return int(outputs * models * 4 * ((columns + 1) * (2 * HISTORY + 8) + 4 * rows))


@dataclass(frozen=True)
class Point:
    """The models of one penalty, in one scaling.

    Attributes:
        models: what they minimise.
        folds: (p,) the model of each fold.
        solution: (r + 1, c) for the rows of the design: the mean of the folds' models, or the finished one.
        penalty: its wd.
        objective: mean loss on the rows that it is judged by.
        train_objective: mean loss of the models on the rows that they are trained on.
        doubted: the same with the doubt that so few rows leave, by which points are compared.
        losses: (v,) of those of these rows that this host has.
        scores: (v, c) of those of these rows that this host has. labels: (v,), scaled. places: (v,), their numbers on
            this host. Where there is a criterion, the finished point has those of all hosts, in order.
        factor: by which the scores of several classes were multiplied, as those of the finished model are to be; see
            ``temperature``.
        copies: (v,) of the finished point, where there is a criterion; see ``selection.calibrate``.
        finished: (v,) of the same: scores of these rows by the finished model.
    """

    models: Objective
    folds: list[np.ndarray]
    solution: np.ndarray
    penalty: float
    objective: float
    train_objective: float
    doubted: float
    losses: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    places: np.ndarray
    factor: float = 1.0
    copies: np.ndarray | None = None
    finished: np.ndarray | None = None

    @property
    def design(self) -> Design:
        """The rows of its scaling."""
        return self.models.design


def follow(
    hp: LinearLearnerHyperparameters, problem: Problem, batch: Batch, known: Folds, validation: Batch | None, job: Job
) -> tuple[Point, Problem]:
    """The best point of the paths in all scalings, by the folds of the batch, and the problem with its scaling.

    Logs an epoch for each point of the better path.
    """
    hosts, every = job.hosts, total(job.hosts, len(batch))
    job.info(f"Training {max(known.held.shape[1], 1)} models in parallel.")
    started = time.perf_counter()
    found: tuple[Point, list[Point]] | None = None
    if known.halves and may_know_within(problem, known.rows) and hp.wd == AUTO:
        # A half of each class does not tell how its rows scatter, and this may tell more than all else.
        found = _best_scaling(hp, problem, batch, folds(batch, hp, job.seed, hosts, even=False), validation, job)
    if found is None or found[0].design.of_folds is None:
        found = _best_scaling(hp, problem, batch, known, validation, job)
    best, path = found
    _report(hp, path, every, (time.perf_counter() - started) / len(path), job)
    job.info("Early stop condition met. Stopping training.")
    job.report(Progress(hp.epochs, hp.epochs))
    on_path = any(point.penalty == best.penalty for point in path)
    best = _finish(best, known.held, known.copies, validation, known=on_path)
    return best, replace(problem, scaler=best.design.scaler)


def _best_scaling(
    hp: LinearLearnerHyperparameters,
    problem: Problem,
    batch: Batch,
    known: Folds,
    validation: Batch | None,
    job: Job,
) -> tuple[Point, list[Point]]:
    """The best point of the paths in all scalings, and its path."""
    hosts, held, rows = job.hosts, known.held, known.rows
    by_others = validation is not None or held.shape[1] > 0 or problem.outputs == 1
    labels = problem.label_scaler.apply(one_label(batch))
    best: Point | None = None
    lowest_of_all = np.inf
    first: int | None = None
    path: list[Point] = []
    for design in designs(problem, batch, hp, held, rows, hosts):
        judged = None if validation is None else Rows.of(validation, replace(problem, scaler=design.scaler), 1)
        penalties, usual = _penalties(hp, design, rows, judged=by_others)
        objective = Objective(hp, problem, design, labels, held, rows, hosts)
        near = usual if first is None else first
        begin = max(usual - BEFORE, 0) if objective.starts_slowly and hp.wd == AUTO else near
        nothing = [objective.nothing() for _ in objective.folds]
        start = nothing if best is None else objective.like(best.models, best.folds)
        points = _search(objective, start, penalties, begin, near, HOPELESS * lowest_of_all, rows, held, judged, job)
        at = _lowest(points)
        first = penalties.index(points[at].penalty)  # where another scaling has its best penalty, too, or next to it
        if best is None or points[at].doubted < lowest_of_all:
            share = rows / total(hosts, len(batch))
            best, path, lowest_of_all = _chosen(hp, points, share, hosts), points, points[at].doubted
        if any_host(hosts, job.stop_requested) or not by_others:
            break
    assert best is not None, "there is at least one scaling, and one penalty"
    return best, path


def _report(hp: LinearLearnerHyperparameters, path: list[Point], rows: int, seconds: float, job: Job) -> None:
    """The lines of each epoch."""
    name = objective_name(hp.loss_name)
    for epoch, point in enumerate(path[: hp.epochs]):
        job.report(ModelValues({f"train_{name}": point.train_objective}, epoch, 0))
        job.report(Measured.of("train", name, point.train_objective, step=epoch))
        job.report(Measured.of("validation", name, point.objective, step=epoch))
        job.report(StoppingCriterion(epoch, name, abs(point.objective)))
        job.report(Throughput(rows, seconds))
        if epoch + 1 < hp.epochs:
            job.report(Progress(epoch + 1, hp.epochs))


def _finish(best: Point, held: np.ndarray, copies: np.ndarray, validation: Batch | None, *, known: bool) -> Point:
    """The same with a model of all rows, and with what the models of its very penalty make of rows they do not know,
    unless its scores are ``known`` to be that."""
    objective, design, scores = best.models, best.design, best.scores
    hp, problem, hosts = objective.hp, objective.problem, objective.hosts
    solutions = list(of_leader(hosts, np.stack(best.folds)))
    objective.penalty = best.penalty
    if hp.criterion is not None and held.shape[1] and not known:
        solutions = objective.minimise(objective.folds, solutions)
        row, fold = np.nonzero(held)
        scores = objective.scores(solutions)[row, fold]
    # A factor is that of models minimised as far as a path does: beyond that scores get longer by themselves.
    whole = objective.minimise([objective.whole], [np.mean(solutions, axis=0)], kept=best.factor == 1)[0]
    found = whole.reshape(-1, problem.outputs)
    if validation is not None:
        rows = Rows.of(validation, replace(problem, scaler=design.scaler), problem.outputs)
        scores = np.concatenate([part for _, part in rows.scores(design.parameters(found))])
    best = replace(best, solution=found * best.factor, scores=scores)
    if hp.criterion is None:
        return best
    finished, of_places = scores[:, 0], np.ones(len(best.labels), np.int64)
    if validation is None:
        finished, of_places = objective.scores([whole])[best.places, 0, 0], copies[best.places]
    # Equal rows have equal scores in float32, however their products were summed.
    of_rows = (scores.astype(np.float32), best.labels, of_places, finished.astype(np.float32))
    scores, labels, of_places, finished = in_order(hosts, best.places, *of_rows)
    places = np.arange(len(labels))
    return replace(best, scores=scores, labels=labels, copies=of_places, places=places, finished=finished)


def _chosen(hp: LinearLearnerHyperparameters, points: list[Point], share: float, hosts: Hosts) -> Point:
    """The point of a path to keep, with its penalty: the lowest one, or of classes the weakest penalty that the rows
    cannot tell from it; see ``ALIKE_ERRORS``. ``share`` is that of the rows which are no copies."""
    at = _lowest(points)
    lowest = points[at]
    if hp.loss_name in CHANCES and hp.wd == AUTO:
        for weaker in reversed(points[at + 1 :]):
            if weaker.doubted - lowest.doubted <= ALIKE_ERRORS * _error(weaker, lowest, share, hosts):
                return weaker
    return lowest if (penalty := _between(points)) == lowest.penalty else _interpolated(points, penalty)


def _error(point: Point, other: Point, share: float, hosts: Hosts) -> float:
    """The standard error of the difference of their mean losses, row by row, of all hosts. Only a ``share`` of the rows
    are no copies."""
    rows = share * total(hosts, len(point.losses))
    return float(mean_and_deviation(point.losses - other.losses, hosts)[1]) / float(np.sqrt(rows))


def _interpolated(points: list[Point], penalty: float) -> Point:
    """The best of these points at a penalty between its own and a neighbour's: with the factor that is likely there,
    and with models from which those of this penalty are near."""
    at = _lowest(points)
    other = points[at - 1 if penalty > points[at].penalty else at + 1]
    share = np.log(penalty / points[at].penalty) / np.log(other.penalty / points[at].penalty)
    folds = [
        near + near.dtype.type(share) * (far - near) for near, far in zip(points[at].folds, other.folds, strict=True)
    ]
    factor = float(points[at].factor * (other.factor / points[at].factor) ** share)
    return replace(points[at], folds=folds, penalty=penalty, factor=factor)


def _between(points: list[Point]) -> float:
    """The penalty at which a parabola through the best point of a path and its neighbours is lowest."""
    at = _lowest(points)
    if not 0 < at < len(points) - 1:
        return points[at].penalty
    near = points[at - 1 : at + 2]
    x = [math.log(point.penalty / near[1].penalty) for point in near]
    rises = [point.doubted - near[1].doubted for point in near]
    if not all(map(math.isfinite, rises)) or rises[0] + rises[2] <= 0:
        return near[1].penalty
    slopes = rises[0] / x[0], rises[2] / x[2]
    bend = (slopes[0] - slopes[1]) / (x[0] - x[2])
    lowest = (bend * x[0] - slopes[0]) / (2 * bend)
    return near[1].penalty * math.exp(min(max(lowest, x[2]), x[0]))


def _lowest(points: list[Point]) -> int:
    """The place of the best of them."""
    return int(np.argmin([point.doubted for point in points]))


def _search(
    objective: Objective,
    start: list[np.ndarray],
    penalties: tuple[float, ...],
    first: int,
    near: int,
    ceiling: float,
    rows: int,
    held: np.ndarray,
    judged: Rows | None,
    job: Job,
) -> list[Point]:
    """The points of one path, the strongest penalty first, searched from these models of the folds.

    It goes from penalty number ``first`` on to weaker ones until they get worse; and where none was better than the
    first, from that to stronger ones, until one is worse. It ends at number ``near``, where good ones are looked for,
    if that is worse than the ``ceiling``. A job that is stopped before it has come there goes on to that one: strong
    ones leave little of any weight. ``rows`` is the number of all hosts', without copies.
    """
    patience = WORSE if rows < FEW_ROWS else 1
    share = rows / total(job.hosts, len(objective.labels))
    points: list[Point] = []
    found, begun = [start], [start]
    for at, penalty in enumerate(penalties[first:], start=first):
        found = [*found[-2:], _minimised(objective, penalty, found)]
        begun = found if len(points) < 2 else begun
        points.append(_point(objective, found[-1], rows, held, judged))
        if any_host(job.hosts, job.stop_requested):
            if at < near:
                last = _minimised(objective, penalties[near], found[-1:])
                points.append(_point(objective, last, rows, held, judged))
            return points
        if at == near and points[-1].doubted > ceiling:
            return points
        if penalty < STRONG and _has_ended(points, patience, share, job.hosts):
            break
    found = [*reversed(begun[1:])]
    for penalty in reversed(penalties[:first]):
        if _lowest(points) or any_host(job.hosts, job.stop_requested):
            break
        found = [*found[-2:], _minimised(objective, penalty, found)]
        points.insert(0, _point(objective, found[-1], rows, held, judged))
    return points


def _has_ended(points: list[Point], patience: int, share: float, hosts: Hosts) -> bool:
    """Whether weaker penalties than those of these points will not be better; see ``WORSE``."""
    at = _lowest(points)
    last, lowest = points[-1], points[at]
    worse = SURELY_WORSE * _error(last, lowest, share, hosts)
    return len(points) - 1 - at >= patience or last.doubted - lowest.doubted > worse


def _minimised(objective: Objective, penalty: float, found: list[list[np.ndarray]]) -> list[np.ndarray]:
    """The models of the folds at this penalty, by those at the last ones."""
    objective.penalty = penalty
    starts = ahead(*map(np.stack, found[-3:]))
    return objective.minimise(objective.folds, list(of_leader(objective.hosts, starts)))


def _point(
    objective: Objective, solutions: list[np.ndarray], rows: int, held: np.ndarray, judged: Rows | None
) -> Point:
    """How good these models of the folds are; ``rows`` is the number of all hosts' rows, without copies."""
    hp, design, labels, hosts = objective.hp, objective.design, objective.labels, objective.hosts
    scores = objective.scores(solutions)
    losses = objective.losses(scores)[0]
    middle = np.mean(solutions, axis=0).reshape(-1, objective.outputs)
    if judged is not None:
        parameters = design.parameters(middle)
        out = np.concatenate([part for _, part in judged.scores(parameters)])
        out_labels = judged.scaled_labels
        out_losses = objective.of(out[:, None, :], out_labels)[0][:, 0]
        places = np.arange(len(out))
    else:
        places, fold = np.nonzero(held if held.shape[1] else np.ones((len(labels), 1)))
        out, out_losses, out_labels = scores[places, fold], losses[places, fold], labels[places]
    alone = rows / total(hosts, len(labels))  # the share of rows that are no copies
    factor = _factor(objective, judged, out, out_labels, rows, alone)
    if factor != 1:
        out = out * out.dtype.type(factor)
        out_losses = objective.of(out[:, None, :], out_labels)[0][:, 0]
    doubts = out_losses + _doubt(hp, out, out_labels, rows)
    trained = np.mean(np.einsum("nm,nm->m", losses, objective.share[:, objective.folds], dtype=np.float64))
    sums = [len(out), trained, out_losses.sum(dtype=np.float64), doubts.sum(dtype=np.float64)]
    count, mean, of_out, of_doubts = hosts.sum(np.array(sums))[0]
    doubted = _against(hp, of_doubts / count, objective.penalty, rows)
    doubted += float(LENGTHENED * np.log(factor) ** 2 / (alone * count))
    judged_by = of_leader(hosts, np.nan_to_num([of_out / count, doubted, mean], nan=np.inf, posinf=np.inf))
    value, doubted, mean = judged_by.tolist()
    return Point(
        objective,
        solutions,
        middle,
        objective.penalty,
        value,
        mean,
        doubted,
        out_losses,
        out,
        out_labels,
        places,
        factor,
    )


def _factor(
    objective: Objective, judged: Rows | None, scores: np.ndarray, labels: np.ndarray, rows: int, alone: float
) -> float:
    """By what the scores (v, c) of rows that models do not know are multiplied: of several classes as ``temperature``
    says, of these a share ``alone`` being no copies, which say no more than one of them. Where a ``wd`` is stated the
    model is that of this penalty, and of classes of one row there is no row that models do not know."""
    hp, problem = objective.hp, objective.problem
    if hp.loss_name != "softmax_loss" or hp.wd != AUTO:
        return 1.0
    if judged is None and not objective.whole:
        return UNJUDGED_FACTOR
    if judged is None and objective.alone > MOST_ALONE:
        return 1.0
    weights = row_weights(problem, labels, hp)
    counts = np.ones(len(labels)) if weights is None else weights.astype(np.float64)
    return temperature(scores, labels.astype(np.int64), alone * counts, DOUBT / rows**1.5, objective.hosts)


def _doubt(hp: LinearLearnerHyperparameters, scores: np.ndarray, labels: np.ndarray, rows: int) -> np.ndarray | float:
    """What the loss of each row grows by if a few of n labels were others; see ``DOUBT``."""
    share = DOUBT / rows**1.5
    if hp.loss_name == "logistic":
        return np.asarray(share * (2 * labels - 1) * scores[:, 0])
    if hp.loss_name == "softmax_loss":
        true = scores[np.arange(len(labels)), labels.astype(np.int64)]
        return np.asarray(share * (true - scores.mean(axis=1)))
    return 0.0


def _against(hp: LinearLearnerHyperparameters, loss: float, penalty: float, rows: int) -> float:
    """The mean loss with what speaks against a penalty before any row is seen; see ``PRIOR``.

    A loss of classes is minus a logarithm of likelihood, and so is half the logarithm of the mean squared error: where
    labels have next to no noise, what is left of the error still tells penalties apart.
    """
    if hp.wd != AUTO:
        return loss
    regression = hp.predictor_type == "regressor"
    unusual = float(PRIOR / rows**1.5 * np.log10(penalty / _usual(hp, rows)) ** 2)
    return loss * float(np.exp(2 * unusual)) if regression else loss + unusual


def _usual(hp: LinearLearnerHyperparameters, rows: int) -> float:
    """The usual penalty; see ``USUAL_VARIANCE``."""
    return (2 * USUAL_NOISE if hp.predictor_type == "regressor" else 1 / USUAL_VARIANCE) / rows


def threshold(point: Point, hp: LinearLearnerHyperparameters) -> float:
    """The raw score from which a row is positive, by the criterion on the rows that the point was judged by."""
    if hp.criterion is None:
        return 0.0
    count = len(point.labels) if hp.num_calibration_samples == AUTO else int(hp.num_calibration_samples)
    assert point.copies is not None and point.finished is not None, "there is a criterion"
    scores, copies = point.scores[:count], point.copies[:count]
    found = float(calibrate(scores, point.labels[:count], hp, copies).threshold[0])
    return aligned(found, scores[:, 0], point.finished[:count], copies, hp)


def criterion(point: Point, hp: LinearLearnerHyperparameters, hosts: Hosts) -> tuple[float, int]:
    """What the criterion reaches at the best threshold, and how many rows it counts; 0 where the loss decides."""
    if hp.criterion is None:
        return 0.0, 1
    value = from_leader(hosts, lambda: float(calibrate(point.scores, point.labels, hp, point.copies).value[0]))
    return value, counted_rows(point.labels, hp)
