"""Label files in and out: DCASE tables, weak labels, clip names, class lists, other event formats.

A row is read as it stands or refused with its line number. Text stays text: ``NA``, ``007`` and
quotes mean themselves. Times are seconds.
"""

from sedtool.labels.events import Event, EventColumns, StrongLabels
from sedtool.labels.formats import (
    EVENT_FORMATS,
    SOURCES,
    EventFormat,
    LabelSource,
    detect_format,
    event_format,
    format_events,
    format_weak,
    read_label_names,
    write_events,
    write_weak,
)
from sedtool.labels.names import NameIndex, check_name, printable
from sedtool.labels.tables import (
    read_durations,
    read_events,
    read_groups,
    read_names,
    read_reference,
    read_soft,
    read_thresholds,
    read_vocabulary,
    read_weak,
)
from sedtool.labels.vocabulary import Vocabulary

__all__ = [
    "EVENT_FORMATS",
    "SOURCES",
    "Event",
    "EventColumns",
    "EventFormat",
    "LabelSource",
    "NameIndex",
    "StrongLabels",
    "Vocabulary",
    "check_name",
    "detect_format",
    "event_format",
    "format_events",
    "format_weak",
    "printable",
    "read_durations",
    "read_events",
    "read_groups",
    "read_label_names",
    "read_names",
    "read_reference",
    "read_soft",
    "read_thresholds",
    "read_vocabulary",
    "read_weak",
    "write_events",
    "write_weak",
]
