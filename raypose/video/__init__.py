"""Video files: `index` (frames, from the packets), `reader` (pixels), `writer` (encoding).

Nothing here knows of models or predictions; the stages above do.
"""
