"""The errors of the control plane, beside those of `authz.errors`; a Problem is a refusal, as data for HTTP.

    AuthzError                 see authz.errors
    ├── Problem                code, status, detail
    │   ├── Invalid            422: fields are wrong: each with a JSON pointer (RFC 6901)
    │   ├── OtherRequest       422: an Idempotency-Key of another request
    │   ├── Conflict           409: it stands against what is there: a like entry, another owner, the lock-out guard
    │   ├── NeedsApproval      202: a second person must approve
    │   ├── Forbidden          403: the caller may not
    │   ├── Unauthorized       401: no token, or none that is known
    │   ├── Missing            404: it does not exist, or the caller may not see it
    │   ├── Stale              412: somebody else was first; carries what is there now
    │   ├── Required           428: If-Match is needed
    │   ├── TooMany            429: the caller asks too often
    │   └── NotReady           503: the store or an identity provider is away
    ├── SignerGone             the signer cannot be reached                         (the operator)
    ├── NotPermitted           an entry is beyond the limits of its layer: not signed
    ├── NotTaken               a receiver of notifications did not take a message
    └── InputError             see authz.errors
        └── Refused            a control plane refused what a command asked for     (the operator)

Codes are the same strings in answers and logs.
"""

from __future__ import annotations

import re
from typing import Any, Final, NamedTuple

from authz.errors import AuthzError, InputError

_TOO_LONG: Final = re.compile(r"Expected `str` of length <= ([0-9]+)")


def plain_detail(detail: str) -> str:
    """Return what msgspec says of a field as a person would say it."""
    return _TOO_LONG.sub(r"found a longer text, expected at most \1 characters", detail)


class FieldMistake(NamedTuple):
    """One field that is wrong.

    Attributes:
        pointer: RFC 6901, such as `/networks/0`.
    """

    pointer: str
    detail: str


class Problem(AuthzError):
    """A refusal of a request.

    Args:
        extra: Members of its own, beside those of RFC 9457.
    """

    status = 400
    code = "bad_request"

    def __init__(self, detail: str, *, code: str = "", hint: str = "", extra: dict[str, Any] | None = None) -> None:
        super().__init__(detail, hint=hint, code=code)
        self.extra = extra or {}


class Invalid(Problem):
    """Fields of the request are wrong."""

    status = 422
    code = "invalid"

    def __init__(self, mistakes: list[FieldMistake], *, code: str = "") -> None:
        self.mistakes = mistakes
        first = "; ".join(f"{m.pointer}: {m.detail}" for m in mistakes[:3])
        super().__init__(first, code=code, extra={"errors": [m._asdict() for m in mistakes]})


class Conflict(Problem):
    """The request stands against what is there."""

    status = 409
    code = "conflict"


class Forbidden(Problem):
    """The caller may not do that."""

    status = 403
    code = "forbidden"


class Unauthorized(Problem):
    """Nobody knows the caller."""

    status = 401
    code = "unauthorized"


class Missing(Problem):
    """It does not exist, or the caller may not see it."""

    status = 404
    code = "not_found"


class Stale(Problem):
    """Somebody else was first."""

    status = 412
    code = "stale"


class Required(Problem):
    """The request must say which version it means."""

    status = 428
    code = "precondition_required"


class TooMany(Problem):
    """The caller asks too often."""

    status = 429
    code = "too_many_requests"


class NotReady(Problem):
    """The store cannot be reached, or is too busy."""

    status = 503
    code = "not_ready"


class NeedsApproval(Problem):
    """A second person must approve the change; nothing was written."""

    status = 202
    code = "needs_approval"


class OtherRequest(Problem):
    """The key was used for another request."""

    status = 422
    code = "idempotency_key_reused"


class SignerGone(AuthzError):
    """The signer cannot be reached, or has ended."""

    code = "signer_gone"


class NotPermitted(AuthzError):
    """An entry is beyond the limits of its layer."""

    code = "not_permitted"


class Refused(InputError):
    """The control plane has said no.

    Attributes:
        problem: Its answer (RFC 9457).
    """

    code = "refused"

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.problem = problem
        detail = problem.get("detail") or f"answered {status}"
        code = str(problem.get("code", "refused"))
        hint = "`--force`, if you mean it" if code == "lock_out" and "force" in str(problem.get("hint")) else ""
        super().__init__(str(detail), hint=hint or str(problem.get("hint", "")), code=code)


class NotTaken(AuthzError):
    """A receiver of notifications did not take a message."""

    code = "not_taken"
