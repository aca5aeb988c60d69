"""Events drawn at random, and what a system might find of them."""

from dataclasses import replace

from sedtool.labels import Event

CLASSES = ("Cat", "Dog", "Speech")


def random_events(rng, n_clips, per_clip=4.0, seconds=10.0):
    events = []
    for i in range(n_clips):
        for _ in range(rng.poisson(per_clip)):
            onset = float(rng.uniform(0, seconds - 1))
            label = CLASSES[rng.integers(len(CLASSES))]
            events.append(Event(f"{i}.wav", onset, onset + float(rng.uniform(0.1, 3)), label))
    return events


def moved(events, rng, miss=0.3, spread=0.15):
    """Return most of the events, each a little earlier or later."""
    kept = [e for e in events if rng.uniform() > miss]
    shifts = rng.normal(0, spread, size=(len(kept), 2))
    return [
        replace(e, onset=max(0.0, e.onset + a), offset=max(0.0, e.onset + a, e.offset + b))
        for e, (a, b) in zip(kept, shifts.tolist(), strict=True)
    ]
