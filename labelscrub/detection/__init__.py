"""Predictions -> Findings: confident learning, AUM, and the checks that keep a bad model from a verdict."""

from labelscrub.detection.duplicates import conflicts, duplicate_groups
from labelscrub.detection.find import find_errors
from labelscrub.detection.listed import details
from labelscrub.detection.summary import Assessment

__all__ = ["Assessment", "conflicts", "details", "duplicate_groups", "find_errors"]
