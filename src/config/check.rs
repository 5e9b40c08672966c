//! `FileConfig` and the environment → [`Config`](super::Config): every problem reported at once.
