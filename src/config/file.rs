//! The mirror of the TOML; unknown keys are refused.
