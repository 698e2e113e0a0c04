"""The block-buffer write cache: ``python.py`` is the specification, ``native.pyx`` its twin."""
