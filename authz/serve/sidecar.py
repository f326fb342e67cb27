"""The life of the sidecar, as named steps.

    start   keys · state · decision_log · admin · snapshot · grpc · http · watch
    end     SIGTERM or SIGINT: drain (NOT_SERVING, GOAWAY, Connection: close; serve on for `drain`) · all listeners
            together · decision_log, events and traces together
    SIGHUP  configuration · certificates · snapshot (load it again, changed or not) · decision_log (open the file again)

A step that fails ends the start with an error that names what to do; what was begun before it is ended. A missing or
refused snapshot does not: we start, say that we are not ready, and wait for a good one.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import signal
import time
from typing import TYPE_CHECKING

from authz.engine.decision.decider import Decider
from authz.errors import AuthzError, NoThread, StartError
from authz.serve.admin.health import Health
from authz.serve.admin.pages import Admin
from authz.serve.admin.status import Status
from authz.serve.admin.token import read_token
from authz.serve.background import in_thread
from authz.serve.config.reload import merge
from authz.serve.grpc.check import GrpcCheck
from authz.serve.grpc.engine import make_engine
from authz.serve.http1.expiring import ExpiringFront
from authz.serve.http1.front import HttpFront
from authz.serve.http1.listener import HttpConnections, HttpLimits
from authz.serve.http1.page_connection import PageConnection
from authz.serve.layers.layers import Layers, plan
from authz.serve.layers.memory import Memory
from authz.serve.listeners.budget import LAST, HeldBytes, Turns
from authz.serve.listeners.endpoints import Endpoints
from authz.serve.listeners.systemd import Passed, reloading
from authz.serve.observe.decision_log import DecisionLog, open_log
from authz.serve.observe.ignored_clients import IgnoredClients
from authz.serve.observe.latency import Latency
from authz.serve.observe.log.file import LogFile
from authz.serve.observe.metrics import Family, Metrics
from authz.serve.observe.process_metrics import ProcessState, read_start, read_state
from authz.serve.observe.process_metrics import families as process_families
from authz.serve.observe.recorder import Recorder, make_recorder
from authz.serve.observe.senders.events import EventSender
from authz.serve.observe.senders.traces import TraceSender
from authz.serve.observe.watch import Watch
from authz.serve.steps import in_turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from authz.serve.config.config import Config
    from authz.serve.layers.layers import Plan
    from authz.snapshot.rollback_guard import State

_LOOK = 1.0  # seconds between two looks at what time alone changes: a snapshot that becomes stale
_LOOK_AT_HITS = 0.1  # seconds between two looks at the hits of entries: who asks for metrics finds few
_LOOK_AT_PROCESS = 5.0  # seconds between two looks at its memory and descriptors
_LOG = logging.getLogger("authz")


class Sidecar:
    """A whole sidecar in one event loop: `start`, then `run_until_signal`, which ends it."""

    def __init__(
        self,
        config: Config,
        read: Callable[[], Config] | None = None,
        passed: Passed | None = None,
        tell: Callable[..., None] = lambda *_: None,
    ) -> None:
        self.config = config
        self._read = read or (lambda: config)  # the configuration, when it is to be read again
        self._reloading = asyncio.Lock()
        self._http: HttpConnections | None = None
        self.metrics = self._make_metrics()
        self.decider = Decider(config.decision_settings())
        self.decider.on_unknown = self.metrics.count_unknown
        self.decider.on_ignored = IgnoredClients(self.metrics, config.client_address.header)
        self.health = Health(lambda: self.decider.decides(time.time()))
        self._log = DecisionLog(config.decision_log)
        self._events = EventSender(config.events)
        self._traces = TraceSender(config.traces)
        self._watch = Watch()
        self._latency = Latency()
        self._process, self._process_start = ProcessState(), 0.0
        self._held, self._turns = HeldBytes(), Turns(last=LAST)  # of all listeners
        self._passed = passed or Passed([])
        self._tell = tell  # systemd
        self._told = ""  # the state that it knows; "": none yet
        self._endpoints = Endpoints(config, self.metrics, self._held, self._passed.take)
        self._fronts: dict[str, tuple[Callable[[], None], Callable[[], Awaitable[None]]]] = {}  # their drains and ends
        self._writers: dict[str, Callable[[], None]] = {}  # end what writes or sends in a thread; block
        self._memory = Memory(config.state_file)
        self.layers = self._make_layers()
        self._status = Status(self.health, self.layers, self.decider, self.metrics, self._log, self._events, time.time)
        self._status.certificates = self._endpoints.certificates
        self._tasks: set[asyncio.Task[None]] = set()

    def _make_metrics(self) -> Metrics:
        return Metrics()

    def _make_layers(self) -> Layers:
        return Layers(self._memory, self.decider, self.metrics, self.health.look)

    @property
    def ports(self) -> dict[str, int]:
        """By listener; 0 for a unix socket."""
        return self._endpoints.ports

    async def start(self) -> None:
        """Take all steps of the start. Raises StartError or InputError; then nothing is left running."""
        try:
            await self._start()
        except BaseException:
            await self._end_all()
            raise

    async def _start(self) -> None:
        plans = await in_thread(plan, self.config)
        self.metrics.begin("authz_config_reloads_total", result="refused")
        for config, rules, _ in plans:
            self.metrics.begin("authz_snapshot_loads_total", layer=config.name, result="ok")
            self.metrics.begin("authz_stale_total", layer=config.name)
            _LOG.info("keys: %s: %d trusted, %d must sign", config.name, len(rules.keys), rules.threshold)
        await self._start_state()
        self._process_start = await in_thread(read_start)
        self.metrics.gauges = self._gauges
        await in_thread(self._log.open)
        self._log.start()
        self._writers["decision_log"] = self._log.stop
        for sender in (candidate for candidate in (self._events, self._traces) if candidate.on):
            await in_thread(sender.open)
            sender.start()
            self._writers[sender.WHAT] = sender.stop
        await self._start_admin()
        await self._start_layers(plans)
        await self._start_fronts()
        self._passed.check_all_taken()
        self.health.set_listening()
        self._task(self._look())
        self._task(self._latency.sample())
        self._task(self._look_at_hits())
        self._task(self._look_at_process())
        self.layers.watch()

    async def _start_state(self) -> None:
        states = await in_thread(_load_states, self._memory)
        known = ", ".join(f"{layer} {state.serial}" for layer, state in sorted(states.items()))
        _LOG.info("state: %s", f"highest serials: {known}" if known else "no serial accepted yet")

    async def _start_layers(self, plans: list[Plan]) -> None:
        await self.layers.start(plans)

    async def _start_fronts(self) -> None:
        await self._start_grpc()
        await self._start_http()

    def _started(self) -> None:
        _LOG.info("serving%s", "" if self.health.ready else f", not ready: {'; '.join(self._status.reasons())}")

    def _state(self) -> str:
        return "ready" if self.health.ready else f"not ready: {'; '.join(self._status.reasons())}"

    def _tell_state(self, *lines: str) -> None:
        """Tell what `systemctl status` shows of us, behind these lines."""
        self._told = self._state()
        self._tell(*lines, f"STATUS={self._told}")

    async def _look(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self.look()

    def look(self) -> None:
        """Notice what time alone changes. Called every second."""
        self.layers.look(time.time())
        self.health.look()
        if self._told and not self.health.draining and self._told != self._state():
            self._tell_state()

    async def _look_at_hits(self) -> None:
        while True:
            await in_turns(self.metrics.fold())
            await asyncio.sleep(_LOOK_AT_HITS)

    async def _look_at_process(self) -> None:
        while True:
            with contextlib.suppress(NoThread):  # the next look may have one
                self._process = await in_thread(read_state)
            await asyncio.sleep(_LOOK_AT_PROCESS)

    def _gauges(self) -> list[Family]:
        process = process_families(self._process, self._process_start)
        return [*self._status.gauges(), *self._traces.families(), *self._latency.families(), *process]

    async def _start_admin(self) -> None:
        file = self.config.admin.token_file
        token = await in_thread(read_token, file) if file and self._endpoints.wanted("admin") else ""
        self._admin = admin = Admin(
            self.config, self._status, self.decider, self.metrics, watch=self._watch, token=token
        )
        if self._endpoints.wanted("admin"):
            # One page in a turn of the event loop, and none that waits behind the fronts.
            turns = Turns(pieces=1)
            connections = HttpConnections(
                admin.handle, admin.wanted, HttpLimits(), held=self._held, turns=turns, connection=PageConnection
            )
            listener = await self._endpoints.listen("admin", connections)
            connections.start()
            self._fronts["admin"] = lambda: None, lambda: listener.end(connections.stop)

    async def _start_http(self) -> None:
        recorder = self._recorder("http")
        front = self._http_front(recorder)
        front.pages = self._admin.probe
        connections = self._http = HttpConnections(
            front.handle,
            front.wanted,
            HttpLimits(),
            self.metrics,
            refuse=front.refuse,
            held=self._held,
            turns=self._turns,
        )
        self._http_limits()
        self.metrics.http_idle = connections.places.idle
        self.metrics.http_without_place = lambda: connections.places.refused
        self.metrics.http_gave_way = lambda: connections.places.gave_way
        if self._endpoints.wanted("http"):
            listener = await self._endpoints.listen("http", connections)
            connections.start()

            def drain() -> None:
                listener.drain()
                connections.drain()

            self._fronts["http"] = drain, lambda: listener.end(connections.stop, connections.drain)

    def _http_front(self, recorder: Recorder) -> HttpFront:
        if not self.config.http.cache:
            return HttpFront(self.config, self.decider, recorder, self.metrics)
        front = ExpiringFront(self.config, self.decider, recorder, self.metrics)
        front.cache = self.config.http.cache
        return front

    async def _start_grpc(self) -> None:
        if not self._endpoints.wanted("grpc"):
            return
        check = GrpcCheck(self.config, self.decider, self._recorder("grpc"))
        listening = functools.partial(self._endpoints.listen, "grpc", protocols=("h2",))
        engine = make_engine(self.config, listening, check, self.health, self._held, self._turns)
        await engine.start()
        self.metrics.grpc_state = engine.state
        self._fronts["grpc"] = engine.drain, engine.stop
        if "grpc" not in self.ports:  # the engine has bound it itself
            self._endpoints.announce("grpc", self.config.grpc.listen, engine.port)

    def _recorder(self, front: str) -> Recorder:
        sinks = [sink for sink in (self._log, self._events, self._traces) if sink.on]
        recorder = make_recorder(front, self.config.application, self.metrics, sinks, traced=self._traces.on)
        recorder.details_wanted = True  # /decisions may ask for them
        self._watch.add(recorder)
        self._latency.add(front, recorder)
        return recorder

    def _task(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOG.error("a task failed", exc_info=task.exception())

    def reload(self) -> None:
        """Read the configuration and the keys again, load all layers again, and open the decision log again."""
        self._log.reopen()
        self._tell(*reloading())
        self._task(self._reload())

    async def _reload(self) -> None:
        async with self._reloading:
            try:
                await self._change(await in_thread(self._read))
            except AuthzError as error:
                self.metrics.count("authz_config_reloads_total", result="refused")
                _LOG.error("the configuration stays as it was: %s", error.message)  # not a bug: no traceback
            else:
                self.metrics.count("authz_config_reloads_total", result="ok")
        await self._endpoints.reload(self.config)
        await self.layers.load()
        self._tell_state("READY=1")

    async def _change(self, new: Config) -> None:
        """Go on with another configuration: all of it that can change, or nothing. Raises AuthzError."""
        config, stays = merge(self.config, new)
        plans = await in_thread(plan, config)
        file = None
        if config.decision_log.path != self.config.decision_log.path:
            file = LogFile(config.decision_log.path)
            await in_thread(open_log, file, config.decision_log)
        self.config = config
        self._log.change(config.decision_log, file)
        self.layers.change(plans)
        self.decider.change(config.decision_settings())
        self._http_limits()
        self.health.look()
        for line in stays:
            _LOG.warning("takes effect at a restart: %s", line)
        _LOG.info("the configuration was read again")

    def _http_limits(self) -> None:
        config = self.config.http
        if self._http is not None:
            self._http.limits = HttpLimits(
                config.max_header, config.idle_timeout, config.header_timeout, config.max_connections, config.of_a_peer
            )

    async def run_until_signal(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain and end. SIGHUP reads the configuration, keys and layers again."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        loop.add_signal_handler(signal.SIGHUP, self.reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked while we started
        self._started()  # said from here on, for a signal drains now
        self._tell_state("READY=1")
        await told.wait()
        told.clear()
        _LOG.info("drain: not serving, answering for %g more seconds", self.config.drain)
        self._tell("STOPPING=1", "STATUS=draining")
        self.drain()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), self.config.drain)  # a second signal ends at once
        await self.stop()

    def drain(self) -> None:
        """Announce the end; all who ask are answered until `stop`."""
        self.health.set_draining()
        for drain, _ in self._fronts.values():
            drain()

    async def stop(self) -> None:
        """End all, the last begun first. A second call is harmless."""
        self.health.set_draining()
        await self._end_all()
        _LOG.info("ended")

    async def _end_all(self) -> None:
        self.layers.close()
        self._endpoints.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        fronts, self._fronts = self._fronts, {}
        await asyncio.gather(*(end() for _, end in fronts.values()))
        for name in reversed(fronts):
            _LOG.info("%s: ended", name)
        writers, self._writers = self._writers, {}
        await asyncio.gather(*map(_in_thread_if_possible, writers.values()))
        for name in reversed(writers):
            _LOG.info("%s: ended", name)


async def _in_thread_if_possible(end: Callable[[], None]) -> None:
    try:
        await in_thread(end)
    except NoThread:
        end()


def _load_states(memory: Memory) -> dict[str, State]:
    """Return the highest serials; make the folder of the state file, and try it. Blocks. Raises StartError, InputError.

    Finding out at the first reload would be too late.
    """
    folder = memory.path.parent
    probe = folder / f".{memory.path.name}.{os.getpid()}.probe"  # another process may look at the same time
    states = memory.load()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)  # another container's process may have the same id
    except OSError as error:
        raise StartError(
            f"snapshot.state: {folder}: {error.strerror}",
            hint="the highest serial is kept there; name a folder that the sidecar can write to",
        ) from error
    return states
