//! The audit log: evidence, never sampled. One JSON object a line per decision and per change of state.
//!
//! A worker reserves a slot before it forwards a request and fills it when the answer's head is known; one writer thread
//! takes what was filled, in batches, and is the only one to serialise and to touch a sink. So a request costs a copy
//! into memory and no system call, and a sink that hangs can delay nobody.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`record`] | What does a line say? |
//! | [`queue`], `batch` | How does it get from a worker to the writer, bounded? |
//! | [`log`], `writer` | Who writes, when, and how does one stop, reopen or change it? |
//! | `sink`, `file`, `stream`, `journal` | Where to, and what if it fails? |
//! | [`tap`] | Who listens while it is written? |
//! | `files`, `keep`, `keeper` | What becomes of rotated files? |
//! | [`read`] | What was recorded, over all files? |

mod batch;
mod file;
mod files;
mod journal;
mod keep;
mod keeper;
pub mod log;
pub mod queue;
pub mod read;
pub mod record;
mod sink;
mod stream;
pub mod tap;
mod writer;

pub use log::AuditLog;
pub use queue::{AuditCounts, AuditQueue, AuditSlot};
pub use record::{AuditRecord, Direction, Event, Fact, StateChange};
