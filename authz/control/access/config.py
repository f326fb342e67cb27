"""`sign_on` of control.yaml: sessions of people."""

from __future__ import annotations

import msgspec

from authz.scalars import Duration  # msgspec reads the annotations


class SignOn(msgspec.Struct, frozen=True, kw_only=True):
    """How people sign on, and for how long."""

    idle: Duration = 1800.0  # a session ends after this long without a request
    longest: Duration = 12 * 3600.0  # and at the latest after this long
