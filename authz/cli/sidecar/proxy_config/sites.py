"""What a proxy serves: the applications of a policy, by their hosts or by a path, or examples in their place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from authz.engine.model import ANY_APPLICATION, Application, DenyAnswer

if TYPE_CHECKING:
    from collections.abc import Sequence

# What all printed configurations refuse: a request whose path or host the proxy and an application behind it could
# read in two ways. Regular expressions as PCRE, RE2 and Go have them alike.
AMBIGUOUS_PATH: Final = (  # case does not matter
    r"^[^?]*(%2e|%2f|%5c|%00|\\|//|#|/\.\.?(/|\?|;|%3b|$)|/(;|%3b)[^/?]*/)"
)
BAD_ESCAPE: Final = "%([^0-9a-f]|.[^0-9a-f]|.?$)"  # of a path as it came; case does not matter
HOST: Final = (  # a name or an IPv6 address in brackets, without a port
    r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*|\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]"
)
_EXAMPLES: Final = (
    Application(ANY_APPLICATION),
    Application("admin", hosts=("admin.example.com",)),
    Application("shop"),
    Application("api"),
)


class Site(NamedTuple):
    """An application as the proxy serves it.

    Attributes:
        hosts: Its host names; none: it is at the path `/NAME`.
    """

    name: str
    hosts: tuple[str, ...]
    deny: DenyAnswer

    @property
    def path(self) -> str:
        """A regular expression for its path and what is below.

        With parameters, too: applications in Java take /shop;x/cart for /shop/cart.
        """
        return f"^/{re.escape(self.name)}([/;]|%3[bB]|$)".replace(r"\-", "-")


class Sites(NamedTuple):
    """All applications.

    Attributes:
        real: They are those of a policy.
        general: What no other has.
    """

    by_host: tuple[Site, ...]
    by_path: tuple[Site, ...]
    general: Site
    real: bool

    @property
    def named(self) -> tuple[Site, ...]:
        """All but the general one."""
        return self.by_host + self.by_path


def sites_of(applications: Sequence[Application] | None) -> Sites:
    """Return the sites for the applications of a policy, the first of which is `*`; None: examples."""
    general, *named = [Site(a.name, a.hosts, a.deny) for a in applications or _EXAMPLES]
    return Sites(
        tuple(site for site in named if site.hosts),
        tuple(site for site in named if not site.hosts),
        general,
        real=applications is not None,
    )
