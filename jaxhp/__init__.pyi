"""What `jaxhp` offers, for type checkers; `__init__.py` loads it lazily."""

from jaxhp import analysis as analysis
from jaxhp import errors as errors
from jaxhp import report as report
from jaxhp import samplers as samplers
from jaxhp import space as space
from jaxhp import storage as storage
from jaxhp import study as study
from jaxhp import testing as testing
from jaxhp._types import Problem as Problem
from jaxhp._types import Sampler as Sampler
from jaxhp._types import Scheduler as Scheduler
from jaxhp._types import Status as Status
from jaxhp._types import Trials as Trials
from jaxhp.errors import JaxhpError as JaxhpError
from jaxhp.errors import LogConflict as LogConflict
from jaxhp.errors import MissingExtra as MissingExtra
from jaxhp.errors import ObjectiveError as ObjectiveError
from jaxhp.errors import SamplerError as SamplerError
from jaxhp.errors import SpaceError as SpaceError
from jaxhp.errors import SpaceExhausted as SpaceExhausted
from jaxhp.errors import StorageError as StorageError
from jaxhp.errors import StudyError as StudyError
from jaxhp.pareto import pareto_front as pareto_front
from jaxhp.samplers import auto as auto
from jaxhp.samplers import bayes as bayes
from jaxhp.samplers import coarse_to_fine as coarse_to_fine
from jaxhp.samplers import freeze as freeze
from jaxhp.samplers import grid_search as grid_search
from jaxhp.samplers import mixture as mixture
from jaxhp.samplers import random_search as random_search
from jaxhp.samplers import sequence as sequence
from jaxhp.samplers import sobol as sobol
from jaxhp.samplers import warm_start as warm_start
from jaxhp.space import Categorical as Categorical
from jaxhp.space import Float as Float
from jaxhp.space import Int as Int
from jaxhp.space import Ordinal as Ordinal
from jaxhp.space import Space as Space
from jaxhp.study import Study as Study
from jaxhp.trial import Trial as Trial

__version__: str
