"""Whether the parts of a study fit together: names of rows, dimensions, values and steps that others mention."""

from fairseq.errors import ConfigError, unknown
from fairseq.studies.study_config import KEEP, StudyConfig


def check_config(study: StudyConfig) -> None:
    """Compare every name with what it names.

    Raises:
        ConfigError: one is unknown; names the key.
    """
    if study.keep_checkpoints not in KEEP:
        raise ConfigError(unknown("value", study.keep_checkpoints, KEEP, "keep_checkpoints"))
    if study.control is not None and study.control not in study.rows:
        raise ConfigError(unknown("row", study.control, study.rows, "control"))
    for name, row in study.rows.items():
        where = f"rows.{name}"
        if row.after is not None and row.after not in study.rows:
            raise ConfigError(unknown("row", row.after, study.rows, f"{where}.after"))
        for dimension in (*row.without, *row.only):
            if dimension not in study.dimensions:
                raise ConfigError(unknown("dimension", dimension, study.dimensions, where))
        for dimension, values in row.only.items():
            for value in values:
                if value not in study.dimensions[dimension]:
                    raise ConfigError(unknown("value", value, study.dimensions[dimension], f"{where}.only.{dimension}"))
        if row.command is not None and row.steps is not None:
            raise ConfigError(f"{where}: give command or steps, not both")
    _check_order(study)
    places = {f"rows.{name}": (row, [row.steps or study.steps]) for name, row in study.rows.items()}
    for dimension, parts in study.dimensions.items():
        every = [study.steps, *(row.steps for row in study.rows.values() if row.steps)]
        places |= {f"dimensions.{dimension}.{value}": (part, every) for value, part in parts.items()}
    for where, (part, chains) in places.items():
        for step in part.step_sets:
            if not any(step in chain for chain in chains):
                raise ConfigError(unknown("step", step, [name for chain in chains for name in chain], f"{where}.set"))


def _check_order(study: StudyConfig) -> None:
    for name in study.rows:
        chain = [name]
        while (after := study.rows[chain[-1]].after) is not None:
            if after in chain:
                raise ConfigError(f"rows: {' after '.join([*chain, after])} has no beginning")
            chain.append(after)
