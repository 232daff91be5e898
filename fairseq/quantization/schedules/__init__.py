"""Precision schedules: bits as a function of the update. One file per family; `SCHEDULES` finds them. No torch."""

from fairseq.quantization.schedules.base import SCHEDULES, PrecisionSchedule, build_schedule

__all__ = ["SCHEDULES", "PrecisionSchedule", "build_schedule"]
