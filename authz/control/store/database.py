"""Opening the store: SQLite in a file (WAL, every commit synced) or PostgreSQL by psycopg 3; transactions; migrations.

SQLite has one writer: a write transaction takes the lock at its start (`BEGIN IMMEDIATE`), so it never fails in its
middle. Writers of one process queue up for it (`InTurn`): by itself SQLite has waiting writers look again after ever
longer pauses, and under load one that came late is served before one that has waited for a second. In PostgreSQL
writers of one layer wait for its head row.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, InvalidatePoolError, SQLAlchemyError

from authz.control.model.problems import NotReady, Problem
from authz.errors import InputError, shorten

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT = 10.0  # seconds that a writer waits for another
IDLE = 1.0  # seconds without use after which a connection may have been closed by the other side
_MIGRATIONS = Path(__file__).parent / "migrations"


class Store:
    """The store, open.

    Args:
        engine: Of the database.
        clock: Seconds since 1970; tests give their own.
    """

    def __init__(self, engine: Engine, clock: Callable[[], float] = time.time) -> None:
        self.engine = engine
        self.clock = clock
        self._closed = False
        self.turns = InTurn()

    @property
    def is_postgresql(self) -> bool:
        """Whether several processes may share it."""
        return self.engine.dialect.name == "postgresql"

    def now(self) -> int:
        """Return the time in microseconds since 1970."""
        return int(self.clock() * 1_000_000)

    @contextlib.contextmanager
    def writing(self, *, durable: bool = True) -> Iterator[Connection]:
        """Give a transaction that may write. An exception rolls it back.

        Args:
            durable: False: a commit does not wait for the disk, and is lost if the machine loses its power soon after.

        Raises:
            NotReady: The database is away.
        """
        with self._turn(), self._transaction(authz_write=True, authz_durable=durable) as connection:
            if not durable and self.is_postgresql:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            yield connection

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a transaction that reads one state.

        Raises:
            NotReady: The database is away.
        """
        options: dict[str, Any] = (
            {"isolation_level": "REPEATABLE READ"} if self.is_postgresql else {"authz_write": False}
        )
        with self._transaction(**options) as connection:
            yield connection

    @contextlib.contextmanager
    def asking(self) -> Iterator[Connection]:
        """Give a connection for one question, without a transaction: PostgreSQL would be asked to begin and to end it.

        Raises:
            NotReady: The database is away.
        """
        if not self.is_postgresql:
            with self.reading() as tx:
                yield tx
            return
        try:
            with _reachable(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                yield connection
        finally:
            if self._closed:
                self.engine.pool.dispose()

    @contextlib.contextmanager
    def together(self, tx: Connection) -> Iterator[None]:
        """Have PostgreSQL answer all that is written in this block at its end, not statement by statement.

        Each answer is a way there and back, and other writers wait for it. Nothing in the block may ask for rows, nor
        for how many there were.

        Raises:
            DBAPIError: What a statement would have raised.
        """
        dialect = self.engine.dialect
        if not self.is_postgresql or not dialect.loaded_dbapi.Pipeline.is_supported():  # by a libpq before 14
            yield
            return
        driver: Any = tx.connection.driver_connection
        try:
            with driver.pipeline():
                yield
        except dialect.loaded_dbapi.Error as error:
            gone = dialect.is_disconnect(error, tx.connection.dbapi_connection, None)
            raise DBAPIError.instance(
                None, None, error, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
            ) from error

    def _turn(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.is_postgresql else self.turns

    @contextlib.contextmanager
    def _transaction(self, **options: Any) -> Iterator[Connection]:
        pool = self.engine.pool
        try:
            with _reachable(), self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection
        finally:
            if self._closed:  # meanwhile: the connection has gone back to a pool that nobody uses
                pool.dispose()

    def close(self) -> None:
        """Close all connections; one that is in use is closed after its transaction."""
        self._closed = True
        self.engine.dispose()


class InTurn(contextlib.AbstractContextManager[None]):
    """A lock that is given in the order in which it is asked for.

    Raises:
        NotReady: That takes too long.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()  # the first holds the lock

    def __enter__(self) -> None:
        mine = threading.Event()
        with self._lock:
            self._waiting.append(mine)
            if self._waiting[0] is mine:
                return
        if not mine.wait(BUSY_TIMEOUT):
            with self._lock:
                if not mine.is_set():
                    self._waiting.remove(mine)
                    raise NotReady("the store is too busy", code="store_unavailable")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._waiting.popleft()
            if self._waiting:
                self._waiting[0].set()


@contextlib.contextmanager
def _reachable() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        if type(error.orig).__name__ == "DiskFull" or "disk is full" in str(error.orig):
            raise NotReady("the disk of the store is full: nothing was written", code="store_full") from error
        if error.connection_invalidated or type(error.orig).__name__ == "OperationalError":
            raise NotReady("the store cannot be reached or is too busy", code="store_unavailable") from error
        if isinstance(error, DataError):
            raise Problem("found a NUL, or a number that no database keeps", code="bad_value") from error
        raise


def open_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Open a store of this version.

    Args:
        url: Of the database.
        clock: Seconds since 1970.

    Raises:
        InputError: The store is missing or of another version. The error says what to run.
    """
    store = Store(_engine(url), clock)
    try:
        with store.engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
            empty = not inspect(connection).has_table("heads")
    except SQLAlchemyError as error:
        store.close()
        raise InputError(f"store: {_plain_url(url)}: cannot be opened: {shorten(error)}") from error
    expected = ScriptDirectory(str(_MIGRATIONS)).get_current_head()
    if empty or found != expected:
        store.close()
    if empty:
        raise InputError(f"store: {_plain_url(url)}: holds no store", hint="`authz control init DIR` makes one")
    if found != expected:
        hint = "stop all control planes and run `authz control migrate`"
        raise InputError(f"store: found the version {found}, expected {expected}", hint=hint)
    return store


def create_store(url: str, *, clock: Callable[[], float] = time.time) -> Store:
    """Make the tables, or bring older ones up to date, and open the store.

    Args:
        url: Of the database.
        clock: Seconds since 1970.

    Raises:
        InputError: The database cannot be opened.
    """
    migrate(url)
    return open_store(url, clock=clock)


def migrate(url: str, revision: str = "head") -> None:
    """Bring the tables to a revision: forward or, if it is an older one or `base`, back.

    Args:
        url: Of the database.
        revision: Of Alembic.

    Raises:
        InputError: The database cannot be opened.
    """
    engine = _engine(url)
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            here = MigrationContext.configure(connection).get_current_revision()
            scripts = ScriptDirectory.from_config(config)
            if revision == "base" or (here is not None and _is_older(scripts, revision, here)):
                command.downgrade(config, revision)
            else:
                command.upgrade(config, revision)
    except SQLAlchemyError as error:
        raise InputError(f"store: {_plain_url(url)}: cannot be opened: {shorten(error)}") from error
    finally:
        engine.dispose()


def _is_older(scripts: ScriptDirectory, revision: str, here: str) -> bool:
    older = [script.revision for script in scripts.iterate_revisions(here, "base")][1:]
    return revision in older


def _engine(url: str) -> Engine:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(f"store: found '{_plain_url(url)}', expected sqlite:///PATH or postgresql://…") from error
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT}, pool_size=16, max_overflow=32)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    if parsed.get_backend_name() != "postgresql":
        raise InputError(f"store: found '{_plain_url(url)}', expected sqlite:///PATH or postgresql://…")
    engine = create_engine(parsed.set(drivername="postgresql+psycopg"), pool_size=16, max_overflow=32)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_look_at_idle, engine))
    return engine


def _note_use(_connection: object, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _look_at_idle(engine: Engine, connection: Any, record: Any, _proxy: object) -> None:
    """Ask a connection that was idle whether the server is still there; the pool takes another where it is not.

    Not each time: that would be a way to the server and back in each transaction (SQLAlchemy's `pool_pre_ping`).
    """
    if time.monotonic() - record.info.get("used", time.monotonic()) < IDLE:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def _prepare_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # we begin transactions ourselves
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    options = connection.get_execution_options()
    write = options.get("authz_write", True)
    wanted = "FULL" if options.get("authz_durable", True) else "NORMAL"
    if write and connection.info.setdefault("synchronous", "FULL") != wanted:
        connection.exec_driver_sql(f"PRAGMA synchronous={wanted}")  # in a transaction it would do nothing
        connection.info["synchronous"] = wanted
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def _plain_url(url: str) -> str:
    """Return the URL without its password."""
    try:
        return make_url(url).render_as_string(hide_password=True)
    except ArgumentError:
        return shorten(url)
