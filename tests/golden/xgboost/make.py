"""Writes the models in this folder; run it in an environment with an old XGBoost: ``python make.py``.

    pip install "numpy<1.24" "scipy<1.12" xgboost==0.90      (and 1.2.1, 1.3.3, 1.7.6)

For each case it saves ``<version>-<case>.model``, the Booster pickled for one of them, and what that XGBoost predicts
for the rows of ``rows.csv`` in ``<version>.json``.
"""

import json
import pickle
from pathlib import Path

import numpy as np
import xgboost as xgb

HERE = Path(__file__).parent
CASES = {
    "logistic": {"objective": "binary:logistic", "base_score": 0.3},
    "logitraw": {"objective": "binary:logitraw"},
    "hinge": {"objective": "binary:hinge"},
    "softprob": {"objective": "multi:softprob", "num_class": 3},
    "poisson": {"objective": "count:poisson"},
    "tweedie-forest": {"objective": "reg:tweedie", "num_parallel_tree": 2, "subsample": 0.5},
    "ndcg": {"objective": "rank:ndcg"},
    "dart": {"booster": "dart", "rate_drop": 0.3, "objective": "reg:squarederror"},
    "linear": {"booster": "gblinear", "objective": "reg:squarederror"},
}


def main():
    rng = np.random.RandomState(0)
    rows = rng.rand(60, 4).round(2)
    rows[rng.rand(60, 4) < 0.2] = np.nan
    seen = np.nan_to_num(rows)
    labels = (seen[:, 0] + seen[:, 1] > 0.8).astype(float)
    np.savetxt(HERE / "rows.csv", rows, fmt="%g", delimiter=",")
    predictions = {}
    for name, parameters in CASES.items():
        matrix = xgb.DMatrix(rows, label=(seen[:, 0] * 2.99).astype(int) if name == "softprob" else labels)
        if name == "ndcg":
            matrix.set_group([20, 20, 20])
        booster = xgb.train({"max_depth": 2, "nthread": 1, "seed": 1, **parameters}, matrix, 3)
        booster.set_attr(note="kept")
        booster.save_model(str(HERE / f"{xgb.__version__}-{name}.model"))
        if name == "logistic":
            (HERE / f"{xgb.__version__}-{name}.pkl").write_bytes(pickle.dumps(booster))
        # 0.90 drops trees of a DART model when it predicts, unless told how many to use
        limit = {"ntree_limit": 3} if name == "dart" and xgb.__version__ == "0.90" else {}
        predictions[name] = booster.predict(xgb.DMatrix(rows), **limit).tolist()
    (HERE / f"{xgb.__version__}.json").write_text(json.dumps(predictions))


if __name__ == "__main__":
    main()
