"""What a run will take, before it is begun: probes, linear models, clusters."""

from __future__ import annotations

from base_fast.forecast.cluster import Cluster, Hardware, Work
from base_fast.forecast.cost import Cost
from base_fast.forecast.model import Forecast, OneResolution

__all__ = ["Cluster", "Cost", "Forecast", "Hardware", "OneResolution", "Work"]
