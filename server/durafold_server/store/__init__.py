"""Where streams are kept. `base` says what a store must do; the others do it."""
