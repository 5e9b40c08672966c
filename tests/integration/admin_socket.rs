//! The control API of the running program: who may ask, what is refused, what it tells, and that its description is true.

mod description;
mod events;
mod explain;
mod who_may;
