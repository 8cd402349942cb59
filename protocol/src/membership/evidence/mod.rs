//! Evidence for the rule: a second reading of it, an exhaustive check of small DAGs, and random
//! larger ones with arbitrary back-dating. Not a proof.

mod dag;
mod exhaustive;
mod laws;
mod oracle;
mod random;
