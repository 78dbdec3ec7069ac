"""Where training is, and its state as a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from algorithms.checkpoints import Checkpoint, rows_from_arrays, rows_to_arrays
from algorithms.factorization_machines.scaling import Scaling
from algorithms.factorization_machines.schedule import Schedule
from algorithms.factorization_machines.scores import Sums
from algorithms.factorization_machines.search import SPEED, Search, Setting
from algorithms.factorization_machines.steps import State

_APART = "apart."


@dataclass
class Place:
    """How far training is.

    Attributes:
        schedule: what is to be done. scaling: of the data, where they are brought to one scale.
        epoch: epochs that are over. batches: of the running one that were trained on. total: their scores.
        period: steps between exchanges with other hosts, 1 where all steps are taken together. step: seconds that one
            takes, as its sizes tell. setting: multiples of the job's ``factors_lr`` and ``linear_wd``.
        search: of which this is a trial's place; None in the job itself.
        exact: the model was found without steps, and the pass to come only scores it.
        undecided: a stop has cut that short; a job that goes on makes it anew.
        last: scores of the last epoch of the job that is over, where this run has had one.
        whole: name and parameters of the best trial that came to its end, which a job that is stopped soon leaves.
    """

    schedule: Schedule
    total: Sums
    scaling: Scaling | None = None
    epoch: int = 0
    batches: int = 0
    period: int = 1
    step: float = 0.0
    setting: Setting = (1.0, 1.0)
    search: Search | None = None
    exact: bool = False
    undecided: bool = False
    last: Sums | None = None
    whole: tuple[str, Mapping[str, np.ndarray]] | None = None

    def next_epoch(self) -> None:
        """The running epoch is over."""
        self.epoch, self.batches, self.total = self.epoch + 1, 0, Sums(self.total.binary)


def to_checkpoint(state: State, place: Place) -> Checkpoint:
    """Parameters, moments, and the place."""
    numbers = {
        "epoch": place.epoch,
        "batches": place.batches,
        "period": place.period,
        "step": place.step,
        "exact": place.exact,
        "undecided": place.undecided,
        "setting": place.setting,
        "search": None if place.search is None else place.search.to_json(),
        "total": vars(place.total),
        "schedule": dataclasses.asdict(place.schedule),
        "whole": place.whole and place.whole[0],
        "time": state.time,
    }
    kept = {} if place.scaling is None else {"scaling": _scaling_to_arrays(place.scaling)}
    if place.whole is not None:
        kept[place.whole[0]] = dict(place.whole[1])
    trial = "" if place.search is None else f"{place.search.position}, "
    position = f"{trial}epoch {place.epoch}" + (f" and {place.batches} batches" if place.batches else "")
    apart = {f"{_APART}{name}": array for name, array in state.apart_to_arrays().items()}
    return Checkpoint(position, numbers, {**_parameters(state), **rows_to_arrays("last", state.last), **apart}, kept)


def resume(state: State, found: Checkpoint) -> Place:
    """Give ``state`` what the checkpoint has, and return the place."""
    for moments in state.moments.values():
        moments.expect(slice(None))
    for name, array in _parameters(state).items():
        array[...] = found.arrays[name]
    state.time, state.last = found.state["time"], rows_from_arrays("last", found.arrays)
    state.apart_from_arrays(
        {name.removeprefix(_APART): array for name, array in found.arrays.items() if name.startswith(_APART)}
    )
    total = Sums(found.state["total"]["binary"])
    vars(total).update(found.state["total"])
    scaling = _scaling_from_arrays(found.kept["scaling"]) if "scaling" in found.kept else None
    how_far = {name: found.state[name] for name in ("epoch", "batches", "period", "step", "exact")}
    search = found.state["search"] and Search.from_json(found.state["search"])
    whole = found.state["whole"]
    place = Place(
        Schedule(**found.state["schedule"]),
        total,
        scaling,
        **how_far,
        setting=tuple(found.state["setting"]),
        search=search or None,
        whole=whole and (whole, found.kept[whole]),
    )
    set_rates(state, place)
    return place


def set_rates(state: State, place: Place) -> None:
    """Those of the job or the trial whose place it is."""
    if place.exact:
        state.stand_still()
    elif place.search is None:
        state.set_rates(*place.setting)
    else:
        state.set_rates(*place.search.setting, SPEED)


def _scaling_to_arrays(scaling: Scaling) -> dict[str, np.ndarray]:
    labels = np.array([scaling.label_shift, scaling.label_scale], np.float64)
    arrays = {
        "rows": np.array(scaling.rows),
        "dense": np.array(scaling.dense),
        "scale": scaling.scale,
        "labels": labels,
    }
    return arrays if scaling.shift is None else {**arrays, "shift": scaling.shift}


def _scaling_from_arrays(arrays: Mapping[str, np.ndarray]) -> Scaling:
    shift, scale = arrays["labels"].tolist()
    return Scaling(int(arrays["rows"]), arrays.get("shift"), arrays["scale"], shift, scale, bool(arrays["dense"]))


def _parameters(state: State) -> Mapping[str, np.ndarray]:
    """The arrays that steps change, in place."""
    moments = {
        f"{name}.{order}": getattr(moment, order)
        for name, moment in state.moments.items()
        for order in ("first", "second")
    }
    return {"bias": state.bias, "linear": state.linear, "factors": state.factors, **moments}
