r"""Audio and label files against each other, before hours are spent on them.

A *problem* stops a later stage or spoils its result; a *note* is worth knowing. Times are compared
with a tolerance of 1 ms: label files and duration lists are rounded to three decimals, each side by
up to half of one.

The audio (headers only, unless it is decoded):

    unreadable-audio    problem  extract would refuse it: damaged, empty, not audio, a bad name
    short-clip          problem  shorter than one analysis window of the default features
    leak                problem  a recording under two names, labelled in different label files
    duplicate-audio     note     a recording under two names otherwise; found by content
    silent              note     all samples are equal; only where audio is decoded
    long-clip           note     more than 10 times as long as the median
    mixed-formats       note     several sample rates or numbers of channels
    unknown-duration    note     the header does not say; decoding finds out

Each label file by itself:

    unreadable-labels   problem  not UTF-8, wrong columns
    empty-file          problem  no row
    bad-row             problem  columns too many or too few, a control character, an empty name
    bad-time            problem  no number, negative, an offset before its onset
    unknown-label       problem  not in the class list
    duplicate-event     problem  a strong row that stands there twice counts twice
    overlap             problem  events of one class overlap in a clip; frames merge them
    relabelled          problem  weak rows of a clip differ, in a file whose rows list several
    added-labels        note     the same, where each row has one label: they add up
    duplicate-row       note     any other row that stands there twice
    touching            note     events of one class meet: frames make one event of them
    zero-length         note     events that last no time are evaluated, but not trained on
    without-labels      note     clips in which nothing is heard
    rare-class          note     fewer than 10 clips, none included

Label files against the audio:

    missing             problem  a labelled clip has no audio
    misnamed            problem  the same, but for a name of other suffix, case or leading Y
    ambiguous           problem  the basename stands for several clips
    same-clip           problem  two names in a label file mean one clip
    past-end            problem  an event ends after the audio does
    by-basename         note     names that match by their basename, or but for a ``\`` and
                                 Unicode form (NFC, NFD)
    unlabelled          note     audio that no label file names

Label files against each other:

    shared-clip         problem  a clip in two files of a kind, or in a weak and a strong one
                                 that share some of their clips: leakage, if one validates
    contradiction       problem  a clip's strong labels have a class that its weak labels have not
    parallel-labels     note     all clips of a weak or strong file are in one of the other kind, or
                                 clips are in a labelled and an unlabelled file
    unlocated           note     a clip's weak labels have a class that its strong labels have not
    label-spelling      note     labels that differ in case, spaces, hyphens and underscores only
"""

from sedtool.checking.report import Finding, Report
from sedtool.checking.stage import CheckInputs, check

__all__ = ["CheckInputs", "Finding", "Report", "check"]
