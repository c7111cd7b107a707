"""Video files: `container` (opening), `index` (frames, from the packets), `packets` (where they
lie in the file), `reader`, `pixels` and `writer` (encoding).

Nothing here knows of models or predictions; the stages above do.
"""
