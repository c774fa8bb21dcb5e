"""Pages from templates: escaped, with a policy that lets nothing run that is not ours; errors are pages."""

import hashlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.staticfiles import StaticFiles

from serving.gateway.access import Access, User, csrf_token
from serving.gateway.dependencies import SESSION_COOKIE
from serving.gateway.errors import Unauthorized
from serving.gateway.records.tables import now
from serving.gateway.web import words

HERE = Path(__file__).parent
THEME_COOKIE = "stocktake_theme"
THEMES = ("", "dark", "light")  # "" = as the device has it
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store"}  # beside those of all answers
NOT_PAGES = ("/api", "/healthz", "/readyz", "/metrics", "/static")
WORDS = ("of_photo", "of_job", "of_alert", "of_bay", "of_trend", "title", "bay_name", "place", "missing")
MORE_WORDS = ("sureness", "percent", "count", "duration")
SECTIONS = {
    "photos": "/history",
    "bay": "/bays",
    "cameras": "/bays",
    "jobs": "/jobs",
}  # of the menu, by how paths begin
HEADLINES = {
    400: "That did not work",
    403: "You may not do this",
    404: "There is nothing here",
    405: "There is nothing here",
    409: "Something has changed meanwhile",
    413: "That is too large",
    415: "This is not a photo that can be read",
    429: "Too much at once",
    503: "Something is not available now",
    504: "That took too long",
}


class CachedFiles(StaticFiles):
    """Files that are kept by browsers: for good where the address has a digest, else until they change."""

    async def get_response(self, path: str, scope: Any) -> Response:
        """See StaticFiles."""
        response = await super().get_response(path, scope)
        for_good = "public, max-age=31536000, immutable"
        response.headers["Cache-Control"] = for_good if scope["query_string"] else "no-cache"
        return response


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks at a page; `csrf` goes into its forms."""

    user: User
    session: str
    csrf: str

    @property
    def name(self) -> str:
        """Of the token."""
        return self.user.name


def mount_static(app: FastAPI) -> None:
    """Serve style, scripts and icon."""
    app.mount("/static", CachedFiles(directory=HERE / "static"), name="static")


def render(request: Request, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """A page; who is signed in is known from `session.signed_in`."""
    visitor = getattr(request.state, "visitor", None)
    here = request.url.path
    page = (
        _templates()
        .get_template(template)
        .render(
            user=visitor and visitor.user,
            csrf=visitor.csrf if visitor else "",
            theme=_theme(request),
            here=here,
            section=SECTIONS.get(here.split("/")[1], here),
            back=here + (f"?{request.url.query}" if request.url.query else ""),
            now=now(),
            **context,
        )
    )
    return HTMLResponse(page, status, HEADERS)


def is_page(request: Request) -> bool:
    """Whether an answer is for a person to read, so that an error has to be a page."""
    wants_json = request.headers.get("accept", "").startswith("application/json")
    return not request.url.path.startswith(NOT_PAGES) and not wants_json


def error_page(request: Request, status: int, said: str, headers: dict[str, str] | None = None) -> Response:
    """What went wrong, in words; who is not signed in is asked to."""
    if status == 401:
        back = request.url.path if request.method == "GET" else "/"
        query = f"?{request.url.query}" if request.url.query and request.method == "GET" else ""
        return RedirectResponse(f"/sign-in?back={quote(back + query, safe='')}", 303)
    said = "no page has this address" if said == "not found" else said
    _recognise(request)
    headline = HEADLINES.get(status, "Something went wrong" if status >= 500 else HEADLINES[400])
    page = render(request, "error.html", status, headline=headline, said=said)
    page.headers.update(headers or {})
    return page


def _recognise(request: Request) -> None:
    """An error on the way to a page is shown with its menu all the same, where somebody is signed in."""
    access: Access = request.app.state.access
    with suppress(Unauthorized):
        session = request.cookies.get(SESSION_COOKIE, "")
        user = access.by_session(session)
        request.state.visitor = Visitor(user, session, csrf_token(user, session))


def local_path(back: str) -> str:
    """Where to go on: a path of ours, never another site."""
    plain = back.startswith("/") and not back.startswith(("//", "/\\")) and back.isprintable()
    return back if plain else "/"


def _theme(request: Request) -> str:
    theme = request.cookies.get(THEME_COOKIE, "")
    return theme if theme in THEMES else ""


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.globals["static"] = _static
    for name in (*WORDS, *MORE_WORDS):
        templates.globals[name] = getattr(words, name)
    return templates


@cache
def _static(name: str) -> str:
    digest = hashlib.sha256((HERE / "static" / name).read_bytes()).hexdigest()
    return f"/static/{name}?{digest[:12]}"
