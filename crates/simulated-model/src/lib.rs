//! simulated-model.
