//! State kept elsewhere: what must survive the process, and how it is written so that it does.

pub mod file;
pub mod grant_keeper;
pub mod grants;
pub mod writer;
