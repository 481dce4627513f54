"""Search strategies: what to measure next, behind one ask-and-tell interface."""
