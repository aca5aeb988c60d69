"""What the recipes share: published label files and their audio, and soundscapes made on the spot.

No stage of the pipeline needs it, and it is imported by ``recipes/*/prepare.py`` and the demo only.
"""
