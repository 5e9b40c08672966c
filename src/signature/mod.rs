//! Who sent it, provably? The schemes on one page: what is covered, what is not, attacks and their tests.
//!
//! One scheme is built: `hmac-v1`, compatible with the fleet's Python client and verifier. Which scheme is checked is
//! our choice, never the message's.
//!
//! | covered by `hmac-v1` | not covered, and what helps |
//! |---|---|
//! | the caller's id | the query: a rule's class never depends on it |
//! | the method, with its case | the body: TLS between the VMs |
//! | the path: decoded once, or raw | its spelling: `/a%2Fb` and `/a/b` share a signature; the class is that of the strictest reading |
//! | the second, within the window | a repetition inside the window: the replay table (`replay = "refuse"`) |
//! | | the host: a service has a key per fleet, not per destination |
//!
//! | attack | answer | test |
//! |---|---|---|
//! | forge or change a signed part | MAC over an unambiguous text | `every_part_of_the_signed_text_is_covered`, `a_signed_text_can_be_split_in_one_way_only` |
//! | learn ids by text, header or time | an unknown id costs the same MACs and reads the same to the caller | `a_failed_check_costs_the_same_for_known_rotating_and_unknown_ids` |
//! | learn a signature by time | constant-time comparison (`subtle`) | by construction |
//! | use the stand-in key of unknown ids | its result is thrown away | `an_unknown_id_is_not_believed_with_any_key_and_least_with_the_decoys` |
//! | send a header twice | malformed, never first-or-last | `a_repeated_header_is_malformed_even_when_both_are_alike` |
//! | respell a value to get round the replay table | one spelling for each value | `timestamps_have_1_to_12_digits_and_one_spelling`, `signatures_are_64_lowercase_hex_digits` |
//! | hide a query in the path (`%3F`) | the signed path keeps it escaped | `what_is_signed_never_holds_what_would_cut_it_short` |
//! | play with the clock | window both ways, no overflow | `the_window_holds_300_seconds_both_ways_and_not_301`, `clocks_at_their_ends_neither_panic_nor_open` |
//! | read a key from a log, a dump, a panic | a type that cannot be printed or cloned and is wiped | `a_key_shows_as_8_hex_digits_that_are_the_same_each_time_and_not_part_of_it` |

pub mod headers;
pub mod hmac_v1;
pub mod key;
pub mod near_miss;
pub mod signer;
pub mod verify;
