//! What do we do about it? The decision table of the contract, enforcement, the override, the failure limit.

pub mod decide;
pub mod decision;
pub mod enforcement;
pub mod failure_limit;
pub mod override_token;
pub mod replay;
