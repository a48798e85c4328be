"""Admission: limits on peers by network, number and rate, over all listeners of a service."""

from sockd.limits.admission import Admission
from sockd.limits.buckets import Bucket
from sockd.limits.networks import AccessList
from sockd.limits.shared_places import SharedPlaces
from sockd.limits.terms import Rate, Terms

__all__ = ["AccessList", "Admission", "Bucket", "Rate", "SharedPlaces", "Terms"]
