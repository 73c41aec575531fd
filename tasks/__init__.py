"""Door 2, processes `worker` and `beat`: one file per verb."""
