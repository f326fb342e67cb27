"""The console as a browser without JavaScript sees it: cookies, pages and forms, in process."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

    from support.control import Control

COOKIE = "authz_session"
HTML = {"content-type": "application/x-www-form-urlencoded"}


class Console:
    """A browser without JavaScript: cookies and forms."""

    def __init__(self, plane: Control, token: str | None = None) -> None:
        self.plane = plane
        self.client = plane.client
        self.client.cookies.clear()
        answer = self.post("/sign-in", {"token": token or plane.token, "to": "/lists"})
        assert answer.status_code == 303, answer.text
        self.secret = answer.cookies[COOKIE]
        self.become()

    def become(self) -> None:
        """Use this session from now on."""
        self.client.cookies.clear()
        self.client.cookies.set(COOKIE, self.secret)

    def get(self, path: str, **headers: str) -> httpx.Response:
        return self.client.get(path, headers=headers, follow_redirects=False)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()} | HTML
        return self.client.post(path, data=fields, headers=sent, follow_redirects=False)

    @property
    def csrf(self) -> str:
        match = re.search(r'name="csrf" value="([^"]+)"', self.get("/add").text)
        assert match is not None
        return match[1]
