"""What a run with `--method calibrated` expects of its list, beside what the truth says.

Symbols: N images whose true label is known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labelscrub.evaluation.metrics import Bin, Detected, detected, expected_calibration_error, reliability
from labelscrub.records import Calibration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Expectation:
    """Expected and true figures of the images that the run assessed and whose true label is known."""

    calibration: Calibration
    """What the run expected, of all the images that it assessed."""
    detected: Detected
    """What is true."""
    ece: float
    """Expected calibration error of the error probabilities: see `evaluation.metrics`."""
    reliability: tuple[Bin, ...]

    @property
    def interval_holds(self) -> bool:
        """Whether the interval holds the true noise rate."""
        return self.calibration.low <= self.detected.noise_rate <= self.calibration.high

    def pairs(self) -> dict[str, tuple[float, float]]:
        """Figure -> expected, true; NaN where undefined."""
        c, d = self.calibration, self.detected
        return {
            "noise_rate": (c.noise_rate, d.noise_rate),
            "precision": (c.expected_precision, d.precision),
            "recall": (c.expected_recall, d.recall),
            "f1": (c.expected_f1, d.f1),
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values; NaN stays NaN."""
        c = self.calibration
        pairs = {name: {"expected": said, "true": true} for name, (said, true) in self.pairs().items()}
        return {
            "aim": c.aim,
            "images": self.detected.images,
            "noise_rate": pairs.pop("noise_rate") | {"low": c.low, "high": c.high},
            **pairs,
            "expected_calibration_error": self.ece,
            "reliability": [vars(b) for b in self.reliability],
        }


def compare_expectation(
    calibration: Calibration,
    error_probability: NDArray[np.floating],  # (N,) NaN where not assessed
    suspect: NDArray[np.bool_],  # (N,)
    wrong: NDArray[np.bool_],  # (N,)
) -> Expectation:
    """Compare with the truth; images that were not assessed take no part, as in the run's own figures."""
    import numpy as np

    assessed = ~np.isnan(error_probability)
    probability, wrong = error_probability[assessed], wrong[assessed]
    return Expectation(
        calibration=calibration,
        detected=detected(suspect[assessed], wrong),
        ece=expected_calibration_error(probability, wrong),
        reliability=reliability(probability, wrong),
    )
