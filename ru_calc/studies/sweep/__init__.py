"""One fit for each of many settings, judged by the same validation frames: what `ru-calc sweep` does."""
