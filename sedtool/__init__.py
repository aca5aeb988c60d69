"""Sound event detection from weak labels: audio in, onset/offset lists out.

Every stage reads files and writes files, so each can run alone::

    audio ──extract──▶ features.h5 ──train──▶ run/model.safetensors ──infer──▶ scores.h5, events.tsv
                           ▲                        ▲                                    │
            weak.tsv / strong.tsv            tune ──┘ thresholds, windows        evaluate ▼
                                                                                metrics.json

Axis letters, everywhere and in this order: B clips in a batch, T frames, F mel bands,
K classes, H hidden size, N samples. Times are seconds.

This package re-exports nothing: importing any submodule runs this file, so one re-export would
put torch's start-up time in front of ``sedtool --help``. Write ``from sedtool.pooling import
POOLINGS``.
"""

__version__ = "0.1.0"
