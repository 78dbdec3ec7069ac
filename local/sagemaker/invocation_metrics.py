"""Invocations of endpoints as metrics in CloudWatch's namespace AWS/SageMaker: sums over half a second, by variant.

Source of the names and units: "Amazon SageMaker AI metrics in Amazon CloudWatch" in the developer guide.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

_NAMESPACE = "AWS/SageMaker"
_EVERY = 0.5
"""Seconds between the first value and its delivery: an invocation must not wait for CloudWatch."""

_UNITS = {"ModelLatency": "Microseconds", "OverheadLatency": "Microseconds"}


def of_answer(status: int, model_seconds: float, seconds: float) -> dict[str, float]:
    """The metrics of one invocation.

    Args:
        model_seconds: how long the container took of ``seconds``, which the whole took.
    """
    return {
        "Invocations": 1,
        "InvocationsPerInstance": 1,
        "Invocation4XXErrors": 400 <= status < 500,
        "Invocation5XXErrors": status >= 500,
        "InvocationModelErrors": status >= 400,
        "ModelLatency": model_seconds * 1e6,
        "OverheadLatency": (seconds - model_seconds) * 1e6,
    }


class InvocationMetrics:
    """Adds up metrics, and delivers the sums a little later."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[Any, str, str, str, str], list[float]] = {}

    def add(self, client: Any, endpoint: str, config: str, variant: str, values: dict[str, float]) -> None:
        """Count the metrics of an invocation; ``client`` is CloudWatch's, ``config`` the endpoint's configuration."""
        with self._lock:
            if not self._waiting:
                timer = threading.Timer(_EVERY, self._deliver)
                timer.daemon = True
                timer.start()
            for name, value in values.items():
                self._waiting.setdefault((client, endpoint, config, variant, name), []).append(value)

    def _deliver(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        now = time.time()
        for client in {key[0] for key in waiting}:
            data = [
                _datum(endpoint, config, variant, name, values, now)
                for (whose, endpoint, config, variant, name), values in waiting.items()
                if whose is client
            ]
            with contextlib.suppress(ClientError, BotoCoreError):  # nobody waits for it
                for start in range(0, len(data), 1000):
                    client.put_metric_data(Namespace=_NAMESPACE, MetricData=data[start : start + 1000])


def _datum(endpoint: str, config: str, variant: str, name: str, values: Iterable[float], now: float) -> dict[str, Any]:
    """Values by endpoint, variant and configuration, of which AWS's notebooks on updates ask. Who asks by the first two
    alone is given them, too: in moto a datum has the dimensions that are asked for, and may have others."""
    dimensions = {"EndpointName": endpoint, "VariantName": variant, "EndpointConfigName": config}
    numbers = list(values)
    return {
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
        "Timestamp": now,
        "Unit": _UNITS.get(name, "None"),
        "StatisticValues": {
            "SampleCount": len(numbers),
            "Sum": sum(numbers),
            "Minimum": min(numbers),
            "Maximum": max(numbers),
        },
    }
