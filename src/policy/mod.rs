//! What do we do about it? The decision table of the contract, enforcement, the override, the failure limit; and the
//! signing direction's own, smaller table.
//!
//! | file | the question it answers |
//! |---|---|
//! | [`certificates`] | Does the connection bear the name its service is bound to? |
//! | [`decide`] | What comes of a request: the whole table, in its order? |
//! | [`decision`] | In which words is that told? |
//! | [`enforcement`] | Is this refusal carried out? |
//! | [`override_token`] | Is this the operators' emergency token? |
//! | [`grants`] | Is this the token of an override that an operator granted? |
//! | [`failure_limit`] | Has this address been refused too often? |
//! | [`replay`] | Has this very signature been seen before? |
//! | [`known_peers`] | Whose failure is a refused call from this address? |
//! | [`probes`] | Is this a test of ours, announced? |
//! | [`outbound`] | May a request of this machine leave signed, and where to? |

pub mod certificates;
pub mod decide;
pub mod decision;
pub mod enforcement;
pub mod failure_limit;
pub mod grants;
pub mod known_peers;
pub mod outbound;
pub mod override_token;
pub mod probes;
pub mod replay;
