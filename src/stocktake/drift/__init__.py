"""Whether what comes today is like what a model was made with."""
