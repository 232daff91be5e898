"""Which parameters a process of a pipeline trains: those its stages compute with.

A parameter of several processes, such as an embedding that is also the output layer, gets the sum of their gradients.
Every process holds the whole model, so that a file is read and written as without a pipeline: before it is written, the
first process gets what others have trained.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

from fairseq.distributed.data_parallel import average_gradients
from fairseq.distributed.pipeline.engine import Pipeline
from fairseq.distributed.pipeline.split import parameter_stages, stage_of
from fairseq.errors import TrainingError


class _Shared(NamedTuple):
    """A parameter of several processes; `places`: theirs in a pipeline, ascending; `group`: of those."""

    name: str
    parameter: nn.Parameter
    places: tuple[int, ...]
    group: Any


class Ownership:
    """Of the parameters of a pipeline's model and criterion; the last stage has the criterion's.

    Attributes:
        own: parameters that this process trains, in the model's order.
        optimizer_state: of all processes, in the first one, since `gather`.
    """

    def __init__(self, pipeline: Pipeline, model: nn.Module, criterion: nn.Module):
        self.pipeline, self.model, self.criterion = pipeline, model, criterion
        last = pipeline.places[-1]
        self.own: list[nn.Parameter] = []
        self._shared: list[_Shared] = []
        self._groups: dict[tuple[int, ...], Any] = {}
        self._users: dict[int, tuple[int, ...]] = {}
        for name, parameter, stages in parameter_stages(pipeline.split):
            if not parameter.requires_grad:
                continue
            places = tuple(sorted({pipeline.places[stage] for stage in stages}))
            if pipeline.place in places:
                self.own.append(parameter)
            if len(places) > 1:
                self._shared.append(_Shared(name, parameter, places, self._group(places)))
        if pipeline.place == last:
            self.own += [p for p in criterion.parameters() if p.requires_grad]
        trained = {id(p): p for module in (model, criterion) for p in module.parameters() if p.requires_grad}
        number = {key: index for index, key in enumerate(trained)}
        self._numbers = [number[id(p)] for p in self.own]  # of own parameters among those of an unsplit run
        self._count = len(number)
        self.optimizer_state: dict[str, Any] = {}

    def _group(self, places: tuple[int, ...]) -> Any:
        """The process group of these places in this pipeline; every process makes those of all copies."""
        if places not in self._groups:
            pipeline = self.pipeline
            made = [
                dist.new_group([replica * pipeline.num_ranks + place for place in places])
                for replica in range(pipeline.num_replicas)
            ]
            self._groups[places] = made[pipeline.replica]
        return self._groups[places]

    # --- gradients ------------------------------------------------------------------------------------------------

    def exchange_gradients(self) -> None:
        """Average over copies of the pipeline, and sum over the processes that share a parameter."""
        average_gradients(self.own, self.pipeline.replicas)
        if not self._shared:
            return
        used = torch.zeros(len(self._shared), self.pipeline.num_ranks, dtype=torch.int32)
        for index, shared in enumerate(self._shared):
            used[index, self.pipeline.place] = int(self._is_used(shared))
        dist.all_reduce(used, group=self.pipeline.group)
        for index, shared in enumerate(self._shared):
            users = tuple(place for place in shared.places if used[index, place])
            known = self._users.setdefault(index, users)
            if not set(users) <= set(known):
                raise TrainingError(
                    f"pipeline: {shared.name} was trained by some of the stages that have it, and others use it now; "
                    "keep the heads and tasks of a run the same, or train without pipeline_model_parallel"
                )
            if len(users) > 1 and self.pipeline.place in shared.places:
                if shared.parameter.grad is None:
                    shared.parameter.grad = torch.zeros_like(shared.parameter)
                dist.all_reduce(shared.parameter.grad, group=shared.group)

    def _is_used(self, shared: _Shared) -> bool:
        return self.pipeline.place in shared.places and shared.parameter.grad is not None

    def grad_norm(self) -> Tensor:
        """The L2 norm of all gradients of the model, in every process."""
        squares = torch.zeros((), dtype=torch.float64)
        elsewhere = {
            id(shared.parameter) for index, shared in enumerate(self._shared)
            if self._first_user(index, shared) != self.pipeline.place
        }  # fmt: skip
        for parameter in self.own:
            if parameter.grad is not None and id(parameter) not in elsewhere:
                squares += torch.linalg.vector_norm(parameter.grad, dtype=torch.float64).square().cpu()
        dist.all_reduce(squares, group=self.pipeline.group)
        return squares.sqrt().float()

    def _first_user(self, index: int, shared: _Shared) -> int:
        return (self._users.get(index) or shared.places)[0]

    # --- files ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def gather(self, optimizer: Any) -> None:
        """Bring to the first process what those of the first copy have trained: weights, buffers, optimizer state."""
        if self.pipeline.replica:
            return
        users = {
            shared.name: self._first_user(index, shared) for index, shared in enumerate(self._shared)
        }  # fmt: skip
        aliases = {id(shared.parameter): users[shared.name] for shared in self._shared}
        weights, state = self.model.state_dict(keep_vars=True), optimizer.state_dict()
        mine = {
            name: value.detach()
            for name, value in weights.items()
            if aliases.get(id(value), self.pipeline.places[stage_of(self.pipeline.split, name)]) == self.pipeline.place
        }
        criterion = self.criterion.state_dict() if self.pipeline.place == self.pipeline.places[-1] else {}
        counted = {
            self._numbers[index]: value
            for index, value in state["state"].items()
            if aliases.get(id(self.own[index]), self.pipeline.place) == self.pipeline.place
        }
        gathered: list[Any] = [None] * self.pipeline.num_ranks
        root = self.pipeline.ranks[0]
        is_root = dist.get_rank() == root
        dist.gather_object((mine, criterion, counted), gathered if is_root else None, root, self.pipeline.group)
        if not is_root:
            return
        states: dict[int, Any] = {}
        for values, of_criterion, part in gathered:
            _copy(weights, values.items())
            _copy(self.criterion.state_dict(), of_criterion.items())
            states.update(part)
        groups = [{**state["param_groups"][0], "params": list(range(self._count))}]
        self.optimizer_state = {**state, "state": dict(sorted(states.items())), "param_groups": groups}

    def part_of(self, state: dict[str, Any]) -> dict[str, Any]:
        """The part of an optimizer's state, as an unsplit run saves it, that this process needs."""
        if sum(len(group["params"]) for group in state["param_groups"]) != self._count:
            return state  # of other parameters: the optimizer says so
        kept = {index: state["state"][number] for index, number in enumerate(self._numbers) if number in state["state"]}
        groups = [{**state["param_groups"][0], "params": list(range(len(self._numbers)))}]
        return {**state, "state": kept, "param_groups": groups}


def _copy(into: dict[str, Any], values: Iterable[tuple[str, Any]]) -> None:
    for name, value in values:
        if isinstance(value, Tensor):
            into[name].copy_(value)
