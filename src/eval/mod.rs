//! Fidelity, utility, privacy: the measures of how good synthetic traces are.
