//! What would happen to a request, and why? Asked of a configuration file (`countersign explain`, `verify`) and of the running sidecar
//! (`GET /v1/explain`), and answered for both by the sidecar's own code:
//!
//! 1. The head is read by `RequestHead::parse`; what it refuses is refused before any rule.
//! 2. The readings and what each falls under are `RuleSet::trace`.
//! 3. What comes of it is what `judge` says of the request unsigned, and signed by each service ([`alone`]).
//!
//! A second implementation would drift. What is in force is an argument ([`InForce`]): the file's word, or the running sidecar's.
//! Services sign with a key made up for the purpose: whether a service's real key is there is told by `status` and `keys list`.
//! Nothing is sent, counted or remembered.

pub mod alone;
mod report;
mod words;

pub use report::{Fate, Held, InForce, Live, Report, Verdict};
