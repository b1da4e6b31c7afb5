"""What `jaxhp` offers, for type checkers; `__init__.py` loads it lazily."""

from jaxhp import errors as errors, report as report, samplers as samplers, space as space, storage as storage, study as study, testing as testing
from jaxhp._types import Problem as Problem, Sampler as Sampler, Scheduler as Scheduler, Status as Status, Trials as Trials
from jaxhp.errors import JaxhpError as JaxhpError, LogConflict as LogConflict, MissingExtra as MissingExtra, ObjectiveError as ObjectiveError, SamplerError as SamplerError, SpaceError as SpaceError, SpaceExhausted as SpaceExhausted, StorageError as StorageError, StudyError as StudyError
from jaxhp.pareto import pareto_front as pareto_front
from jaxhp.samplers import auto as auto, bayes as bayes, coarse_to_fine as coarse_to_fine, freeze as freeze, grid_search as grid_search, mixture as mixture, random_search as random_search, sequence as sequence, sobol as sobol, warm_start as warm_start
from jaxhp.space import Categorical as Categorical, Float as Float, Int as Int, Ordinal as Ordinal, Space as Space
from jaxhp.study import Study as Study
from jaxhp.trial import Trial as Trial

__version__: str
