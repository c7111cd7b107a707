"""Labels beside the predictions of a finished run: which frames to label next, and how far
predictions are from labels.

```
outputs   the tables in an output directory, by their records
choosing  which of many bad frames to label: spread over videos and poses
suggest   scores the tables of a run, and chooses
project   the chosen frames as a labelling project: images, and first guesses
evaluate  errors on labelled frames
```
"""
