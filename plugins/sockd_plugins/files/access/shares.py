"""Shares of users: what the folder of each may hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from sockd.plugin import Size
from sockd_plugins.files.storage.sender import Share


class UserQuota(BaseModel):
    """Quota of one user, in place of that of all."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Size | None = Field(default=None, description="Bytes in the user's folder. 0: any.")
    files: int | None = Field(default=None, ge=0, description="Files in the user's folder. 0: any.")


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of all users.

    Attributes:
        usual: of a user without a quota of its own.
        quotas: of single users, by name.
    """

    usual: Share = field(default_factory=Share)
    quotas: Mapping[str, UserQuota] = field(default_factory=dict)

    def of(self, name: str) -> Share | None:
        """Return the share of a user; None if nothing bounds the user's folder."""
        quota = self.quotas.get(name, UserQuota())
        size = self.usual.size if quota.size is None else quota.size
        files = self.usual.files if quota.files is None else quota.files
        return Share(size, files) if size or files else None
