"""Admission: who may come in, how many, how fast. Totals for a whole service, whatever its listeners."""

from sockd.limits.admission import Admission
from sockd.limits.buckets import Bucket
from sockd.limits.networks import AccessList
from sockd.limits.terms import Rate, Terms
from sockd.limits.together import Together

__all__ = ["AccessList", "Admission", "Bucket", "Rate", "Terms", "Together"]
