"""Video files: `container` (opening), `index` (frames, from the packets), `reader`, `pixels` and
`writer` (encoding).

Nothing here knows of models or predictions; the stages above do.
"""
