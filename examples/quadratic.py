"""The black-box interface in twenty lines, without jax:  python examples/quadratic.py   (or: jaxhp tune examples/quadratic.py)"""

from __future__ import annotations

import jaxhp

space = jaxhp.Space(
    {
        "x": jaxhp.Float(-5.0, 5.0),
        "scale": jaxhp.Float(1e-3, 1e3, log=True),
        "shape": jaxhp.Categorical(["bowl", "valley"]),
        "tilt": jaxhp.Float(0.0, 1.0, when={"shape": "valley"}),
    }
)


def objective(trial: jaxhp.Trial) -> float:
    """The smaller, the better: 0 at x = 2, scale = 1, shape = "bowl"."""
    return (trial["x"] - 2.0) ** 2 + abs(trial["scale"] - 1.0) + trial.params.get("tilt", 0.0)


if __name__ == "__main__":
    study = jaxhp.Study(space, seed=0).optimize(objective, trials=100)
    print(f"best of {len(study.finished)} trials: {study.best.value:.4g} with {study.best.params}")
