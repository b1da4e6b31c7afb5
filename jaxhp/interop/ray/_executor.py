"""A Ray cluster as a `concurrent.futures.Executor`.

Each call is a task of its own, or goes to one of a number of actors, which keep what an objective keeps: data on a GPU, compiled programs.
Ray itself repeats nothing (`max_retries=0`): a call whose worker or node is gone ends with `WorkerLost`, and the study, which records it,
decides. A function is sent to the cluster once, however often it is called.
"""

from __future__ import annotations

import concurrent.futures
import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

import ray
from ray import exceptions

from jaxhp._arguments import is_real, is_whole, plain
from jaxhp.errors import StudyError, WorkerLost

_LOST: Final = (
    exceptions.WorkerCrashedError,
    exceptions.NodeDiedError,
    exceptions.LocalRayletDiedError,
    exceptions.RayActorError,
    exceptions.ObjectLostError,
    exceptions.OutOfMemoryError,
)
_KEPT: Final = 8  # functions that are kept in the cluster


class Executor(concurrent.futures.Executor):
    """Runs calls on a Ray cluster; the running one, or else one of this machine.

    Args:
        num_cpus, num_gpus, resources: what a call needs, or an actor; fractions share. A GPU that is given shows in CUDA_VISIBLE_DEVICES.
        actors: 0 runs tasks. Otherwise this many actors run the calls, and one that is lost is replaced.
        concurrency: threads per actor, for objectives that mostly wait.
        slots: how many calls run at once; by default what the cluster has room for. Say it where the cluster grows on demand.
        options: more of Ray's options for tasks or actors, such as `{"runtime_env": {"pip": ["torch"]}}`.

    Raises:
        StudyError: an argument is not valid, or the cluster lacks what a call needs.

    >>> with Executor(num_cpus=1) as executor:  # doctest: +SKIP
    ...     study.optimize(objective, trials=100, executor=executor)
    """

    def __init__(
        self,
        num_cpus: float = 1,
        num_gpus: float = 0,
        *,
        resources: Mapping[str, float] | None = None,
        actors: int = 0,
        concurrency: int = 1,
        slots: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        for name, given in (("resources", resources), ("options", options)):
            if given is not None and (not isinstance(given, Mapping) or not all(isinstance(key, str) for key in given)):
                raise StudyError(f"{name}: expected a dict with names as keys, or None, got {given!r}")
        num_cpus, num_gpus, other = plain(num_cpus), plain(num_gpus), plain(dict(resources or {}))
        actors, concurrency, slots = plain(actors), plain(concurrency), plain(slots)
        need = {"num_cpus": num_cpus, "num_gpus": num_gpus} | {f"resources[{k!r}]": v for k, v in other.items()}
        for name, amount in need.items():
            if not is_real(amount) or not 0 <= amount < float("inf"):
                raise StudyError(f"{name}: expected an amount that is not negative, got {amount!r}")
        for name, count, least in (("actors", actors, 0), ("concurrency", concurrency, 1), ("slots", slots, 1)):
            if (count is not None or name != "slots") and (not is_whole(count) or count < least):
                raise StudyError(f"{name}: expected a number of at least {least}, got {count!r}")
        if concurrency > 1 and not actors:
            raise StudyError(f"concurrency={concurrency}: a task is one call; say how many actors=, too")
        if not ray.is_initialized():
            ray.init()
        wanted = {"CPU": num_cpus, "GPU": num_gpus} | other
        self._options = dict(options or {}) | {"num_cpus": num_cpus, "num_gpus": num_gpus, "resources": other}
        if slots is None:
            slots = self._room(wanted, actors) * concurrency
        self.slots = slots
        self._crew = _Actors(self._options, actors, concurrency) if actors else None
        self._sent: deque[tuple[Callable[..., Any], Any]] = deque(maxlen=_KEPT)  # functions, and where they are in the cluster
        self._lock = threading.Lock()
        self._open: set[_Call] = set()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        """Runs `fn(*args, **kwargs)` in the cluster. Cancelling the future interrupts it where Ray can: tasks, and calls that wait."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        call = _Call(self._reference(fn), args, kwargs)
        begun = None  # first of all: Ray may refuse the arguments
        if self._crew is None:
            begun = _task.options(**self._options, max_retries=0).remote(call.function, call.args, call.kwargs)
        with self._lock:
            self._open.add(call)
        call.add_done_callback(self._over)
        if self._crew is not None:
            self._crew.run(call)
        else:
            call.begin(begun)
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Takes no more calls; ends the actors once the calls are over. The cluster stays."""
        self._closed = True
        with self._lock:
            waiting = list(self._open)
        if cancel_futures:
            for call in waiting:
                call.cancel()
        if wait:
            concurrent.futures.wait(waiting)
        if self._crew is not None:
            self._crew.close()

    def _room(self, wanted: Mapping[str, float], actors: int) -> int:
        """How many tasks run at once, or these actors.

        Raises:
            StudyError: there is no room.
        """
        each = {name: amount for name, amount in wanted.items() if amount}
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if each:
            fit = sum(int(min(has.get(name, 0) / amount + 1e-9 for name, amount in each.items())) for has in nodes)
        else:
            fit = max(actors, int(sum(has.get("CPU", 0) for has in nodes)))
        if fit < max(1, actors):
            what = ", ".join(f"{name}: {amount:g}" for name, amount in each.items())
            all_of = ray.cluster_resources()
            has = ", ".join(f"{name}: {all_of[name]:g}" for name in each if name in all_of) or "none of that"
            raise StudyError(
                f"the cluster has room for {fit} of {max(1, actors)} that need {what} each (all nodes together: {has}); "
                "ask for less, or say slots= where the cluster grows on demand"
            )
        return actors or fit

    def _over(self, call: concurrent.futures.Future[Any]) -> None:
        with self._lock:
            self._open.discard(call)

    def _reference(self, fn: Callable[..., Any]) -> Any:
        for known, reference in self._sent:
            if known is fn:
                return reference
        reference = ray.put(fn)
        self._sent.append((fn, reference))
        return reference


class _Call(concurrent.futures.Future[Any]):
    """A call, from when it is submitted to when Ray has its result or gives it up."""

    def __init__(self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.function, self.args, self.kwargs = function, args, kwargs
        self._reference: Any = None

    def begin(self, reference: Any) -> concurrent.futures.Future[Any]:
        """Ray has it; returns when Ray has ended it, which a cancelled call may be well before."""
        self._reference = reference
        ended: concurrent.futures.Future[Any] = reference.future()
        ended.add_done_callback(self._end)
        return ended

    def cancel(self) -> bool:
        """Cancels the call, and tells Ray."""
        if not super().cancel():
            return False
        if self._reference is not None and ray.is_initialized():
            ray.cancel(self._reference)
        return True

    def _end(self, ended: concurrent.futures.Future[Any]) -> None:
        if not self.set_running_or_notify_cancel():
            return
        error = ended.exception()
        if error is None:
            self.set_result(ended.result())
        elif isinstance(error, exceptions.TaskCancelledError):
            self.set_exception(concurrent.futures.CancelledError(str(error)))
        elif isinstance(error, _LOST):
            lost = WorkerLost(f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")
            lost.__cause__ = error
            self.set_exception(lost)
        else:
            self.set_exception(error)


class _Actors:
    """Actors with seats for calls. A new actor is given none before it has started: it may have to wait for room.

    One thread speaks to them. Ray's own threads, in which calls end, only leave a note: speaking to Ray there would wait for itself.
    """

    def __init__(self, options: dict[str, Any], count: int, concurrency: int) -> None:
        self._options, self._concurrency = options, concurrency
        self._notes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._alive: dict[Any, Any] = {}  # actors by id
        self._seats: deque[Any] = deque()  # ids of actors, one per call that may begin
        self._waiting: deque[_Call] = deque()
        self._seated = 0
        self._closed = False
        for _ in range(count):
            self._notes.put(self._hire)
        threading.Thread(target=self._work, daemon=True, name="ray actors").start()

    def run(self, call: _Call) -> None:
        """Runs a call when there is a seat."""
        self._notes.put(lambda: self._waiting.append(call))

    def close(self) -> None:
        """Ends the actors when nothing is left to do."""
        self._notes.put(lambda: setattr(self, "_closed", True))

    def _work(self) -> None:
        while not (self._closed and not self._waiting and not self._seated):
            self._notes.get()()
            while self._waiting and self._seats:
                self._seat(self._waiting.popleft())
        for actor in self._alive.values() if ray.is_initialized() else ():
            ray.kill(actor)

    def _hire(self) -> None:
        actor = _worker.options(**self._options, max_concurrency=self._concurrency).remote()
        key = actor._actor_id
        self._alive[key] = actor
        started = actor.call.remote(_nothing, (), {}).future()
        started.add_done_callback(lambda ended: self._notes.put(lambda: self._free(key, ended, self._concurrency)))

    def _seat(self, call: _Call) -> None:
        if call.cancelled():
            call.set_running_or_notify_cancel()
            return
        key = self._seats.popleft()
        try:
            begun = self._alive[key].call.remote(call.function, call.args, call.kwargs)
        except Exception as e:  # whatever Ray says of arguments that it cannot send
            self._seats.append(key)
            if call.set_running_or_notify_cancel():
                call.set_exception(e)
            return
        self._seated += 1
        ended = call.begin(begun)
        ended.add_done_callback(lambda ended: self._notes.put(lambda: self._leave(key, ended)))

    def _leave(self, key: Any, ended: concurrent.futures.Future[Any]) -> None:
        self._seated -= 1
        self._free(key, ended, 1)

    def _free(self, key: Any, ended: concurrent.futures.Future[Any], seats: int) -> None:
        """An actor has room, or is gone."""
        if key not in self._alive:
            return
        if not isinstance(ended.exception(), exceptions.RayActorError):
            self._seats.extend([key] * seats)
            return
        ray.kill(self._alive.pop(key))  # it may be out of reach only, and come back
        self._seats = deque(seat for seat in self._seats if seat != key)
        if not self._closed:
            self._hire()


def _run(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


def _nothing() -> None:
    pass


class _Worker:
    def call(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return function(*args, **kwargs)


_task: Final = ray.remote(_run)
_worker: Final = ray.remote(_Worker)
