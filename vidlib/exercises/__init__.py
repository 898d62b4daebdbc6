"""The exercises of the notebooks and how an answer is checked."""
